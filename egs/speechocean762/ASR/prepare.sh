#!/usr/bin/env bash
# Prepares the data of speechocean762 in the folder of the recipe. What is done already is skipped.
#   prepare.sh --dl-dir DIR
# To get the corpus: curl -L https://www.openslr.org/resources/101/speechocean762.tar.gz | tar xz
#
# Stages:
#   0 corpus (it is used where it lies)
#   1 import as lhotse manifests         data/manifests
# shellcheck disable=SC1091,SC2034,SC2154  # `begin` makes variables of the options
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../../utils/stages.sh"
begin "$@"

[ -z "$dl_dir" ] || import="train=$dl_dir/train test=$dl_dir/test"
. "$RNNT_ROOT/utils/import_corpus.sh"

. "$RNNT_ROOT/utils/preparation.sh"
