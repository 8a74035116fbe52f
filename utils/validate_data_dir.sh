#!/usr/bin/env bash
# Checks a Kaldi data directory. --help shows the usage.
exec "$(dirname "${BASH_SOURCE[0]}")/data_dir.sh" validate_data_dir.sh "$@"
