#!/usr/bin/env bash
# From recordings to what training reads. ./prepare.sh --help
set -euo pipefail
caller=$PWD
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../../../utils/preparation.sh"

dl_dir=
vocab_size=30
train_set=train
perturb_speed="0.85 1.15"
subsampling_factor=8
sets="train dev test test-newspeaker"

help_message="Usage: prepare.sh [options]

Prepares the data of connected digits, in the folder of the recipe. What is done already is skipped.

  --dl-dir DIR       folder that holds fsdd/recordings (default: those of last time, else a download, else speech
                     spoken by espeak-ng)
$(preparation_options)

Stages:
  0 corpus: folder, download or synthetic speech  data/corpus
  1 lhotse manifests                 data/manifests
$(preparation_stages)"

. "$here/../../../utils/parse_options.sh"
. "$here/../../../utils/stages.sh"

cd "$here"
begin_preparation "$caller"
if [ -z "$dl_dir" ] && [ -z "$stage" ] && stage_has_run 0 data/corpus; then
  skip_stage 0 corpus "done before"
else
  run_stage 0 corpus data/corpus python3 local/get_corpus.py --dl-dir "$dl_dir" --out data/corpus
fi
run_stage 1 manifests data/manifests \
  python3 local/make_manifests.py --corpus data/corpus --out data/manifests
prepare_shared
