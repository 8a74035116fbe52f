#!/usr/bin/env bash
# From a corpus in any common form to a table of word error rates: builds the environment, prepares the data, trains,
# decodes and prints the table.
#   run.sh --import "train=PATH dev=PATH test=PATH"
# shellcheck disable=SC1091,SC2154  # `begin` makes variables of the options
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../../utils/stages.sh"
begin "$@"

stage 0 preparation "" ./prepare.sh "${prepare_options[@]}"

. "$RNNT_ROOT/utils/experiment.sh"
