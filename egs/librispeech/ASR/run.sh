#!/usr/bin/env bash
# From the archives of the corpus to a table of word error rates: builds the environment, prepares the data, trains,
# decodes and prints the table.
# shellcheck disable=SC1091,SC2154  # `begin` makes variables of the options
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../../utils/stages.sh"
begin "$@"

stage 0 preparation "" ./prepare.sh "${prepare_options[@]}"

. "$RNNT_ROOT/utils/experiment.sh"
