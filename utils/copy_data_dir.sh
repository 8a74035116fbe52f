#!/usr/bin/env bash
# Copies a Kaldi data directory, perhaps with other ids. --help shows the usage.
exec "$(dirname "${BASH_SOURCE[0]}")/data_dir.sh" copy_data_dir.sh "$@"
