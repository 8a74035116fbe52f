#!/usr/bin/env bash
# From recordings to what training reads. ./prepare.sh --help
set -euo pipefail
caller=$PWD
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

stage=
stop_stage=100
dl_dir=
nj=$(nproc)
vocab_size=30
train_set=train
sets="train dev test test-newspeaker"
perturb_speed="0.85 1.15"

help_message="Usage: prepare.sh [options]

Prepares the data of connected digits, in the folder of the recipe. What is done already is skipped.

  --stage N         run stage N and all later ones, done or not (default: only what is not done)
  --stop-stage N    end after stage N (default: $stop_stage)
  --dl-dir DIR      folder that holds fsdd/recordings (default: those of last time, else a download, else speech
                    spoken by espeak-ng)
  --nj N            processes for features (default: $nj)
  --vocab-size N    BPE tokens (default: $vocab_size)
  --train-set NAME  set for the BPE model and the statistics (default: $train_set)
  --sets \"NAMES\"    all sets (default: \"$sets\")
  --perturb-speed \"FACTORS\"  speeds of further copies of the training set (default: \"$perturb_speed\")
  --config FILE     shell file that sets any of these (stop_stage=5)

Stages:
  0 corpus: folder, download or synthetic speech   data/corpus
  1 lhotse manifests                               data/manifests
  2 noise manifests (this recipe has none)
  3 fbank features                                 data/fbank
  4 noise fbank (this recipe has none)
  5 SentencePiece model                            data/lang_bpe_$vocab_size
  6 validation, filtering, statistics              data/cuts
  7 n-gram of tokens                               data/lang_bpe_$vocab_size"

. "$here/../../../utils/parse_options.sh"
. "$here/../../../utils/stages.sh"
[ $# -eq 0 ] || { echo "prepare.sh: unexpected argument $1; --help lists the options" >&2; exit 1; }

cd "$here"
dl_dir=$(from_caller "$caller" "$dl_dir")
../../../tools/setup.sh
. ./path.sh
lang=data/lang_bpe_$vocab_size

if [ -z "$dl_dir" ] && [ -z "$stage" ] && stage_has_run 0 data/corpus; then
  skip_stage 0 corpus "done before"
else
  run_stage 0 corpus data/corpus python3 local/get_corpus.py --dl-dir "$dl_dir" --out data/corpus
fi
run_stage 1 manifests data/manifests \
  python3 local/make_manifests.py --corpus data/corpus --out data/manifests
skip_stage 2 "noise manifests" "none asked for"
# shellcheck disable=SC2086
run_stage 3 fbank data/fbank \
  python3 "$RNNT_ROOT/local/compute_fbank.py" --config conf/fbank.yaml --manifest-dir data/manifests \
  --out data/fbank --sets $sets --train-set "$train_set" --perturb-speed $perturb_speed --nj "$nj"
skip_stage 4 "noise fbank" "none asked for"
run_stage 5 "SentencePiece" "$lang" \
  python3 "$RNNT_ROOT/local/train_bpe.py" --manifest-dir data/manifests --train-set "$train_set" \
  --vocab-size "$vocab_size" --out "$lang"
# shellcheck disable=SC2086
run_stage 6 "validation and statistics" data/cuts \
  python3 "$RNNT_ROOT/local/validate.py" --fbank-dir data/fbank --out data/cuts --train-set "$train_set" \
  --sets $sets --bpe-model "$lang/bpe.model" --max-drop 5 --subsampling-factor 4
run_stage 7 "n-gram" "$lang" \
  python3 "$RNNT_ROOT/local/make_ngram.py" --lang-dir "$lang" --order 2 3
