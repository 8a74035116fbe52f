# shellcheck shell=bash
# shellcheck disable=SC1091,SC2154
# What prepare.sh and run.sh of all recipes share: `begin "$@"` reads the options, `stage` runs a stage. What the options
# are is in rnnt/prepare/config.py, when a stage is done in rnnt/prepare/recipe/stages.py.

# find_python: a Python for the options, which are read before the environment exists.
find_python() {
  local python
  for python in "${RNNT_VENV:-$1/tools/venv}/bin/python3" python3 python3.13 python3.12 python3.11 python3.10; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
      echo "$python"
      return 0
    fi
  done
  return 1
}

# begin WORDS...: the options as variables and arrays, the environment, and the folder of the script.
begin() {
  local script root python text
  script=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)/${BASH_SOURCE[1]##*/}
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  python=$(find_python "$root") || {
    if [[ " $* " == *" --help "* || " $* " == *" -h "* ]]; then
      echo "${0##*/}: --help needs Python 3.10 or newer; run $root/tools/setup.sh first" >&2
      exit 1
    fi
    "$root/tools/setup.sh"
    python=$(find_python "$root")
  }
  text=$(PYTHONPATH=$root PYTHONIOENCODING=UTF-8 "$python" "$root/local/recipe_options.py" \
    --script "$script" --caller "$PWD" -- "$@")
  eval "$text"
  "$root/tools/setup.sh"
  cd "$(dirname "$script")" || exit 1
  [ -f path.sh ] || cd ..
  . ./path.sh
  . ./cmd.sh
  cd "$(dirname "$script")" || exit 1
}

# run COMMAND...: a command that hears of each signal to this script, which waits until it has ended.
run() {
  local child status=0
  "$@" &
  child=$!
  # shellcheck disable=SC2064
  trap "kill -TERM $child 2>/dev/null || true" INT TERM HUP
  wait "$child" || status=$?
  # A signal ends `wait` early; the command takes its time to end well.
  while kill -0 "$child" 2>/dev/null; do
    wait "$child" && status=0 || status=$?
  done
  trap - INT TERM HUP
  return "$status"
}

# stage N TITLE FOLDER COMMAND...: run stage N, whose results lie in FOLDER, unless it is done. --stage M with M <= N runs
# it in any case. What runs makes all later stages run again. An empty FOLDER: the command knows itself what is done.
# Between FOLDER and COMMAND may stand options of local/run_stage.py that have one value, such as --log FILE.
stage() {
  local options=(--script "${0##*/}" --number "$1" --title "$2" --folder "$3" --stop-stage "$stop_stage")
  shift 3
  while [[ $1 == --* ]]; do
    options+=("$1" "$2")
    shift 2
  done
  # run.sh has a first stage always, which forces nothing there.
  [ -z "$stage" ] || options+=(--stage "$stage")
  run python3 "$RNNT_ROOT/local/run_stage.py" "${options[@]}" -- "$@"
}

# skip_stage N TITLE WHY
skip_stage() {
  ! stage_wanted "$1" || echo "stage $1: $2: $3, skipped"
}

# stage_wanted N: whether --stage and --stop-stage leave stage N in.
stage_wanted() {
  [ "${stage:-0}" -le "$1" ] && [ "$stop_stage" -ge "$1" ]
}
