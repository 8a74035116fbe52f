#!/usr/bin/env bash
# Runs one of the programs for Kaldi data directories: data_dir.sh PROGRAM ARGUMENTS. The programs call it themselves.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) || exit 1
python=${RNNT_VENV:-$root/tools/venv}/bin/python3
[ -x "$python" ] || python=python3
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec "$python" "$root/local/data_dir.py" "$@"
