#!/usr/bin/env bash
# Sorts and filters a Kaldi data directory. --help shows the usage.
exec "$(dirname "${BASH_SOURCE[0]}")/data_dir.sh" fix_data_dir.sh "$@"
