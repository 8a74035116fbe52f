#!/usr/bin/env bash
# Prepares the data of MLPerf's RNN-T in mlperf/data, from the archives of the corpus to what launch.py reads. What is
# done already is skipped. FLAC is read directly: no features and no WAV files are stored. Utterances of more than 16.7 s
# are left to the training to leave out, so that dev-clean is complete.
#
# Stages:
#   0 download, unless it is there       data/corpus
#   1 lhotse manifests                   data/manifests
# shellcheck disable=SC1091,SC2154  # `begin` makes variables of the options
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../../../utils/stages.sh"
begin "$@"

stage 0 corpus data/corpus \
  python3 ../local/get_corpus.py "${corpus_options[@]}" --out data/corpus
stage 1 manifests data/manifests \
  python3 ../local/make_manifests.py "${part_options[@]}" --corpus data/corpus --out data/manifests --nj "$nj"

. "$RNNT_ROOT/utils/preparation.sh"
