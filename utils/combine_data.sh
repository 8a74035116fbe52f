#!/usr/bin/env bash
# Writes several Kaldi data directories as one. --help shows the usage.
exec "$(dirname "${BASH_SOURCE[0]}")/data_dir.sh" combine_data.sh "$@"
