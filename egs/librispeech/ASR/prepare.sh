#!/usr/bin/env bash
# From the archives of the corpus to what training reads. ./prepare.sh --help
set -euo pipefail
caller=$PWD
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../../../utils/preparation.sh"

import=
hold_out=
# shellcheck disable=SC2034  # used by import_corpus
allow_pipes=false
dl_dir=
parts="train-clean-100 train-clean-360 train-other-500 dev-clean dev-other test-clean test-other"

help_message="Usage: prepare.sh [options]

Prepares the data of LibriSpeech, or of its parts, in the folder of the recipe. What is done already is skipped.

  --dl-dir DIR       folder that holds LibriSpeech, or its archives, or gets them (default: that of last time, else
                     download)
  --parts \"NAMES\"    parts of the corpus; those that begin with train make the set train
                     (default: \"$parts\")
  --noise true       take MUSAN as noise: from --dl-dir, or downloaded to it (11 GB)
$(import_options)
$(preparation_options)

Stages:
  0 download, unless it is there     data/corpus, data/noise_corpus
  1 lhotse manifests                 data/manifests
$(preparation_stages)"

. "$here/../../../utils/parse_options.sh"
. "$here/../../../utils/stages.sh"

cd "$here"
begin_preparation "$caller"
if [ "$noise" = true ]; then
  run_stage 0 MUSAN data/noise_corpus python3 local/get_noise.py --dl-dir "$dl_dir" --out data/noise_corpus
  noise=data/noise_corpus/musan
fi
if [ -n "$import" ]; then
  import_corpus
else
  # shellcheck disable=SC2086
  run_stage 0 corpus data/corpus python3 local/get_corpus.py --dl-dir "$dl_dir" --parts $parts --out data/corpus
  # shellcheck disable=SC2086
  run_stage 1 manifests data/manifests \
    python3 local/make_manifests.py --parts $parts --corpus data/corpus --out data/manifests --nj "$nj"
fi
prepare_shared
