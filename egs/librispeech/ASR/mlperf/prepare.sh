#!/usr/bin/env bash
# The data of MLPerf's RNN-T, from the archives of the corpus to what launch.py reads. ./prepare.sh --help
set -euo pipefail
caller=$PWD
mlperf=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
here=$(dirname "$mlperf")
. "$mlperf/../../../../utils/preparation.sh"

dl_dir=
parts="train-clean-100 train-clean-360 train-other-500 dev-clean"
# No n-gram is needed.
stop_stage=6
# The longest of the 2703 utterances of dev-clean has 32.6 s, and all are decoded.
max_duration_utt=40
vocab_size=1023
blank=last
features=onthefly
fbank_config=$here/conf/mlperf/fbank.yaml
subsampling_factor=6

help_message="Usage: mlperf/prepare.sh [options]

Prepares the data of MLPerf's RNN-T in mlperf/data. What is done already is skipped. FLAC is read directly: no features
and no WAV files are stored. Utterances of more than 16.7 s are left to the training to leave out, so that dev-clean is
whole.

  --dl-dir DIR       folder that holds LibriSpeech, or its archives, or gets them (default: that of last time, else
                     download)
  --parts \"NAMES\"    parts of the corpus; those that begin with train make the set train
                     (default: \"$parts\")
$(preparation_options)

Stages:
  0 download, unless it is there     data/corpus
  1 lhotse manifests                 data/manifests
$(preparation_stages)"

. "$mlperf/../../../../utils/parse_options.sh"
. "$mlperf/../../../../utils/stages.sh"

cd "$here"
begin_preparation "$caller"
cd "$mlperf"
# shellcheck disable=SC2086
run_stage 0 corpus data/corpus python3 ../local/get_corpus.py --dl-dir "$dl_dir" --parts $parts --out data/corpus
# shellcheck disable=SC2086
run_stage 1 manifests data/manifests \
  python3 ../local/make_manifests.py --parts $parts --corpus data/corpus --out data/manifests --nj "$nj"
prepare_shared
