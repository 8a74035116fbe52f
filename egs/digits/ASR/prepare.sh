#!/usr/bin/env bash
# Prepares the data of connected digits, in the folder of the recipe. What is done already is skipped.
#
# Stages:
#   0 corpus: folder, download or synthetic speech  data/corpus
#   1 lhotse manifests                   data/manifests
# shellcheck disable=SC1091,SC2154  # `begin` makes variables of the options
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../../utils/stages.sh"
begin "$@"

# Without --dl-dir: the recordings of last time.
[ -n "$dl_dir" ] && keep=false || keep=true
stage 0 corpus data/corpus --keep "$keep" \
  python3 local/get_corpus.py "${corpus_options[@]}" --out data/corpus

stage 1 manifests data/manifests \
  python3 local/make_manifests.py --corpus data/corpus --out data/manifests

. "$RNNT_ROOT/utils/preparation.sh"
