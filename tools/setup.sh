#!/usr/bin/env bash
# Builds the environment of the toolkit, or completes it; does nothing where it is ready.  tools/setup.sh --help
set -euo pipefail
# Without links: pip writes these paths into programs.
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(dirname "$tools")
venv=${RNNT_VENV:-$tools/venv}
own=true
[ -z "${RNNT_VENV-}" ] || [ "$RNNT_VENV" = "$tools/venv" ] || own=false
# A link leads to the environment of another checkout.
if [ -L "$venv" ]; then
  own=false
  venv=$(readlink -f "$venv")
fi
ready=$venv/rnnt-ready
unfinished=$venv/rnnt-unfinished
log=$tools/cache/setup.log
torch_version=2.8.0
# The environment itself, and the downloads while pip unpacks them.
needed_gb=8
needed_tmp_gb=3
patience=10

build_kaldifeat=false
for argument in "$@"; do
  case $argument in
    --build-kaldifeat) build_kaldifeat=true ;;
    -h | --help)
      cat <<TEXT
Usage: tools/setup.sh [--build-kaldifeat]

Makes a virtual environment in tools/venv with pinned, known-good packages
(7 GB, 2 to 3 minutes; 1 GB where torch's CPU index answers), and the project in
it. Then it tries the wheels of k2 and kaldifeat, which are optional. Run again,
it does nothing, or completes what was cut short.

  --build-kaldifeat   compile kaldifeat where no wheel is found (4 minutes; the
                      wheel is kept in tools/cache)

  RNNT_VENV=DIR       use this existing environment, as other checkouts may;
                      only what is missing is installed
  PYTHON=PROGRAM      the Python to make the environment with (default: the
                      first of python3, python3.12, ... that is 3.10 to 3.13)
TEXT
      exit 0
      ;;
    *)
      echo "setup.sh: unknown option $argument; --help lists the options" >&2
      exit 1
      ;;
  esac
done

say() { echo "setup.sh: $*"; }
fail() {
  echo "setup.sh: $*" >&2
  exit 1
}

# What a ready environment was made from; of a shared one, a line for each state of a checkout that it is good for.
key() { cat "$root/setup.py" "$tools/constraints.txt" | cksum; }
is_ready() { [ -x "$venv/bin/python3" ] && [ -f "$ready" ] && grep -qxF "$(key)" "$ready"; }

# run_logged MINUTES COMMAND...: output to the log, a line now and then on the terminal. MINUTES bounds the time.
run_logged() {
  local limit=$1 start=$SECONDS shown=$SECONDS status=0 job
  shift
  echo "+ $*" >>"$log"
  timeout "${limit}m" "$@" >>"$log" 2>&1 &
  job=$!
  # shellcheck disable=SC2064
  trap "kill $job 2>/dev/null || true; exit 130" INT TERM HUP
  while kill -0 $job 2>/dev/null; do
    sleep 0.1
    if [ $((SECONDS - shown)) -ge 20 ]; then
      shown=$SECONDS
      say "  $((SECONDS - start)) s: $(tail -n 1 "$log" | cut -c 1-80)"
    fi
  done
  wait $job || status=$?
  trap - INT TERM HUP
  return $status
}

# free_kb FOLDER
free_kb() { df -Pk "$1" | awk 'NR == 2 { print $4 }'; }

install() {
  local constraints=()
  ! $own || constraints=(-c "$tools/constraints.txt")
  run_logged 60 "$venv/bin/python3" -m pip install --disable-pip-version-check --progress-bar off \
    "${constraints[@]}" "$@"
}

must_install() {
  install "$@" && return
  tail -n 15 "$log" >&2
  fail "pip could not install the packages (above; all of it in $log). With the network back, run tools/setup.sh again"
}

find_python() {
  local name
  for name in ${PYTHON:-python3 python3.12 python3.11 python3.13 python3.10}; do
    # A name on the path may be a shim that does not run.
    if "$name" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
  fail "no Python 3.10 to 3.13 found (looked for ${PYTHON:-python3, python3.10 ... python3.13}); install one, or name" \
    "it: PYTHON=/path/to/python3.12 tools/setup.sh"
}

# check_disk: room for the environment, and for the downloads, which may go to the same disk.
check_disk() {
  local tmp=${TMPDIR:-/tmp} needed=$needed_gb
  if [ "$(disk_of "$tmp")" = "$(disk_of "$(dirname "$venv")")" ]; then
    needed=$((needed_gb + needed_tmp_gb))
  else
    require_gb "$tmp" $needed_tmp_gb "set TMPDIR to a folder with room"
  fi
  require_gb "$(dirname "$venv")" "$needed" "make room, or put the checkout elsewhere"
}

disk_of() { df -P "$1" | awk 'NR == 2 { print $6 }'; }

# require_gb FOLDER GB REMEDY
require_gb() {
  local free
  free=$(($(free_kb "$1") / 1024 / 1024))
  [ "$free" -ge "$2" ] || fail "$1 has $free GB free and the environment needs $2 GB there; $3"
}

make_venv() {
  local python
  if [ -d "$venv" ] && ! "$venv/bin/python3" -m pip --version >/dev/null 2>&1; then
    say "$venv is broken (its Python or pip does not run); it is made again"
    rm -rf "$venv"
  fi
  [ ! -d "$venv" ] || return 0
  python=$(find_python)
  "$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "$python has no working venv module; on Debian or Ubuntu: apt install python3-venv"
  check_disk
  say "making $venv with $("$python" --version)"
  "$python" -m venv "$venv" || {
    rm -rf "$venv"
    fail "python -m venv failed (above)"
  }
}

# pip writes RECORD last: a package without it was cut short and would pass for installed.
drop_half_installed() {
  local info
  for info in "$venv"/lib/python3*/site-packages/*.dist-info; do
    if [ -d "$info" ] && [ ! -f "$info/RECORD" ]; then
      say "$(basename "$info" .dist-info) was left half installed; it is installed again"
      rm -rf "$info"
    fi
  done
}

# has_everything: whether a shared environment has all programs and packages of this checkout. Then pip must not touch
# it: others may be using it. Which checkout is installed makes no difference, as path.sh puts its own first.
has_everything() {
  local program would
  while read -r program; do
    [ -x "$(sed -n '1s/^#!//p' "$venv/bin/$program" 2>/dev/null)" ] || return 1
  done < <(sed -n 's/^ *"\([a-z_.]*\) = rnnt.*/\1/p' "$root/setup.py")
  would=$("$venv/bin/python3" -m pip install --disable-pip-version-check --dry-run --no-build-isolation \
    -e "${root}[test,espeak]" 2>>"$log") || return 1
  would=$(sed -n 's/^Would install //p' <<<"$would")
  [[ $would != *" "* ]]
}

has_gpu() { nvidia-smi -L 2>/dev/null | grep -q '^GPU '; }
has() { "$venv/bin/python3" -c "import importlib.metadata as m; m.version('$1')" 2>/dev/null; }

# Without a GPU torch's CPU build saves 6 GB. Where its index can't be reached, the registry's torch does as well.
install_torch() {
  local index=https://download.pytorch.org/whl/cpu reason
  if has torch || ! $own || has_gpu; then
    return 0
  fi
  if reason=$("$venv/bin/python3" "$tools/find_wheel.py" "$index/torch/" --package torch --variant cpu \
    --timeout $patience 2>&1 >/dev/null); then
    say "installing torch $torch_version for the CPU"
    install --index-url "$index" "torch==$torch_version" "torchaudio==$torch_version" && return 0
    say "torch's CPU index failed; the registry's torch is taken"
  else
    say "torch's CPU build: not reachable ($reason); the registry's torch brings CUDA along"
  fi
}

install_packages() {
  local extras=test,espeak
  if $own; then
    extras=$extras,torchaudio
    has torch || say "installing torch, lhotse and the rest: about 7 GB, 2 to 3 minutes"
  fi
  must_install setuptools wheel
  must_install --no-build-isolation -e "${root}[$extras]"
}

# variant: the local version in the names of wheels made for this torch, as in cuda12.8.torch2.8.0
wheel_variant() {
  "$venv/bin/python3" -c '
import torch
cuda = torch.version.cuda
print(("cuda" + cuda if cuda else "cpu") + ".torch" + torch.__version__.split("+")[0])'
}

# try_wheel PACKAGE PAGES VERSION-LESS-REMARK: install the wheel for this torch and Python, if there is one.
try_wheel() {
  local package=$1 pages=$2 remark=$3 variant page answer error
  if has "$package"; then
    say "$package: there already"
    return 0
  fi
  variant=$(wheel_variant)
  page=$pages/cuda.html
  [[ $variant == cuda* ]] || page=$pages/cpu.html
  error=$(mktemp)
  if answer=$("$venv/bin/python3" "$tools/find_wheel.py" "$page" --package "$package" --variant "$variant" \
    --timeout $patience 2>"$error"); then
    say "$package: installing $(basename "$answer")"
    if run_logged 5 "$venv/bin/python3" -m pip install --progress-bar off --no-deps "$answer" &&
      "$venv/bin/python3" -c "import $package" >>"$log" 2>&1; then
      say "$package: installed"
      rm -f "$error"
      return 0
    fi
    "$venv/bin/python3" -m pip uninstall -y "$package" >>"$log" 2>&1 || true
    echo "the wheel does not install or load, see $log" >"$error"
  fi
  say "$package: no wheel ($(cat "$error")); $remark"
  rm -f "$error"
  return 1
}

optional_packages() {
  try_wheel k2 https://k2-fsa.github.io/k2 "the native loss gives the same numbers" || true
  if $build_kaldifeat; then
    try_wheel kaldifeat https://csukuangfj.github.io/kaldifeat "it is built now" || make_kaldifeat
  else
    try_wheel kaldifeat https://csukuangfj.github.io/kaldifeat \
      "lhotse computes the same features (--build-kaldifeat compiles it)" || true
  fi
}

make_kaldifeat() {
  say "kaldifeat: compiling, about 4 minutes on 2 cores"
  if run_logged 60 "$venv/bin/python3" "$tools/build_kaldifeat.py" --cache "$tools/cache"; then
    say "kaldifeat: installed"
  else
    tail -n 15 "$log" >&2
    fail "kaldifeat could not be built (above; all of it in $log); everything else works without it"
  fi
}

if is_ready && ! $build_kaldifeat; then
  exit 0
fi
mkdir -p "$tools/cache"
lock=$tools/venv.lock
if ! $own; then
  [ -x "$venv/bin/python3" ] || fail "RNNT_VENV=$venv is no virtual environment; make it, or leave RNNT_VENV unset"
  lock=$venv/rnnt.lock
fi
exec 9>"$lock"
if ! flock -n 9; then
  say "another setup.sh is at work on $venv; waiting for it"
  flock 9
fi
if ! is_ready; then
  : >"$log"
  [ ! -d "$venv" ] || say "bringing $venv up to date"
  ! $own || make_venv
  if ! $own && has_everything; then
    key >>"$ready"
    say "ready: $venv has all that this checkout needs"
    exit 0
  fi
  if $own; then
    [ ! -e "$unfinished" ] || drop_half_installed
    : >"$unfinished"
  fi
  kept=$($own || cat "$ready" 2>/dev/null || true)
  rm -f "$ready"
  install_torch
  install_packages
  optional_packages
  "$venv/bin/python3" "$tools/check_env.py" --quiet ||
    fail "the environment is not complete (above); after that, run tools/setup.sh again"
  printf '%s' "${kept:+$kept$'\n'}" >"$ready.new"
  key >>"$ready.new"
  mv "$ready.new" "$ready"
  rm -f "$unfinished"
  say "ready: $venv (tools/check_env.py lists what is in it)"
elif $build_kaldifeat; then
  has kaldifeat || make_kaldifeat
fi
