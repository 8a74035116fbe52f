#!/usr/bin/env bash
# Prepares the data of a corpus in any common form, in the folder of the recipe. What is done already is skipped.
#   prepare.sh --import "train=PATH dev=PATH test=PATH"
#
# Stages:
#   0 corpus (it is used where it lies)
#   1 import as lhotse manifests         data/manifests
# shellcheck disable=SC1091,SC2154  # `begin` makes variables of the options
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../../utils/stages.sh"
begin "$@"

. "$RNNT_ROOT/utils/import_corpus.sh"

. "$RNNT_ROOT/utils/preparation.sh"
