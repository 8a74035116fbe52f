#!/usr/bin/env bash
# Tests rnnt/loss against a real k2: in a separate environment with Python 3.9, torch 1.13.1 and k2 1.23.4, the only
# wheel of k2 on PyPI. The environment is made once in $RNNT_K2_VENV (default: tools/cache/k2). Where there is no
# Python 3.9, or the packages cannot be installed, it says so in one line and succeeds, unless --required is given.
#
# Usage: tools/test_k2.sh [--required] [pytest options]
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${RNNT_K2_VENV:-$root/tools/cache/k2}
required=false
if [ "${1:-}" = --required ]; then
  required=true
  shift
fi

skip() {
  echo "test-k2: skipped: $1" >&2
  if $required; then exit 1; else exit 0; fi
}

# Prints the first Python 3.9 that runs and can make environments. `python3.9` on PATH may be a shim that does not.
find_python39() {
  local candidate
  local candidates=("${PYTHON39:-}")
  mapfile -t -O 1 candidates < <(type -aP python3.9 python3 python || true)
  candidates+=("$HOME"/.pyenv/versions/3.9*/bin/python)
  for candidate in "${candidates[@]}"; do
    if [ -n "$candidate" ] &&
      "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 9))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
}

if ! "$venv/bin/python" -c 'import k2, pytest' 2>/dev/null; then
  python=$(find_python39)
  [ -n "$python" ] || skip "no Python 3.9 found (set PYTHON39 to one)"
  echo "test-k2: making $venv with $python" >&2
  rm -rf "$venv"
  mkdir -p "$(dirname "$venv")"
  "$python" -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check torch==1.13.1 'numpy<2' k2==1.23.4 pytest ||
    skip "torch 1.13.1 and k2 1.23.4 cannot be installed here (pip's message is above)"
  "$venv/bin/python" -c 'import k2' || skip "k2 1.23.4 is installed in $venv but does not import"
fi

cd "$root"
export PYTHONPATH=$root PYTHONDONTWRITEBYTECODE=1
exec "$venv/bin/python" -m pytest -p no:cacheprovider --import-mode=importlib -q test/rnnt/loss "$@"
