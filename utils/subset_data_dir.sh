#!/usr/bin/env bash
# Writes a part of a Kaldi data directory. --help shows the usage.
exec "$(dirname "${BASH_SOURCE[0]}")/data_dir.sh" subset_data_dir.sh "$@"
