#!/usr/bin/env bash
# From a bare machine to a table of word error rates on connected digits: builds the environment, prepares the data,
# trains, decodes and prints the table.
# shellcheck disable=SC1091,SC2154  # `begin` makes variables of the options
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../../utils/stages.sh"
begin "$@"

stage 0 preparation "" ./prepare.sh "${prepare_options[@]}"

. "$RNNT_ROOT/utils/experiment.sh"

if stage_wanted 3 && grep -qs '"kind": "synthetic"' data/corpus/source.json; then
  echo "NOTICE: synthetic speech: these rates are not comparable with results on the real recordings."
fi
