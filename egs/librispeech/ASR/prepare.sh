#!/usr/bin/env bash
# Prepares the data of LibriSpeech, or of its parts, in the folder of the recipe. What is done already is skipped.
# --noise true takes MUSAN as noise: from --dl-dir, or downloaded to it (11 GB).
#
# Stages:
#   0 download, unless it is there       data/corpus, data/noise_corpus
#   1 lhotse manifests                   data/manifests
# shellcheck disable=SC1091,SC2154  # `begin` makes variables of the options
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../../utils/stages.sh"
begin "$@"

if [ "$noise" = true ]; then
  stage 0 MUSAN data/noise_corpus \
    python3 local/get_noise.py "${folder_options[@]}" --out data/noise_corpus
  noise=data/noise_corpus/musan
fi
if [ -n "$import" ]; then
  . "$RNNT_ROOT/utils/import_corpus.sh"
else
  stage 0 corpus data/corpus \
    python3 local/get_corpus.py "${corpus_options[@]}" --out data/corpus
  stage 1 manifests data/manifests \
    python3 local/make_manifests.py "${part_options[@]}" --corpus data/corpus --out data/manifests --nj "$nj"
fi

. "$RNNT_ROOT/utils/preparation.sh"
