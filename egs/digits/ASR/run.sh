#!/usr/bin/env bash
# From a bare machine to a table of word error rates on connected digits. ./run.sh --help
set -euo pipefail
caller=$PWD
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

stage=0
stop_stage=100
dl_dir=
nj=$(nproc)
vocab_size=30
config=conf/train.yaml
exp_dir=
world_size=
train_opts=
decode_sets="dev test test-newspeaker"
decode_methods="greedy_search beam_search modified_beam_search"
beam_size=4
# Such a small model is decoded faster by one thread than by two that wait for each other.
decode_opts="--avg 2 --threads 1"
force=false

help_message="Usage: run.sh [options]

Builds the environment, prepares the data, trains, decodes and prints a table. Call it again at any time: it skips what
is done and goes on where it stopped.

  --stage N, --stop-stage N   first and last stage (default: $stage, $stop_stage)
  --dl-dir DIR                folder that holds fsdd/recordings (default: a download, else synthetic speech)
  --nj N                      processes for features (default: $nj)
  --vocab-size N              BPE tokens (default: $vocab_size)
  --config FILE.yaml          configuration of the training (default: $config)
  --exp-dir DIR               folder of the model and results (default: exp/ and the name of the configuration)
  --world-size N              training processes, 1 or 2; the results are the same (default: 2 where there are two
                              cores and no GPU: two processes of one thread are faster than one of two)
  --train-opts \"OPTIONS\"      more options of train.py, such as \"--num-epochs 3\" (default: none)
  --decode-sets \"NAMES\"       sets to decode (default: \"$decode_sets\")
  --decode-methods \"NAMES\"    (default: \"$decode_methods\")
  --beam-size N               (default: $beam_size)
  --decode-opts \"OPTIONS\"     more options of decode.py, (default: \"$decode_opts\")
  --force true|false          decode again what is newer than the model (default: $force)
  --config FILE               a FILE not named .yaml is a shell file that sets any of these (nj=8)

Stages:
  0 prepare (prepare.sh has stages of its own)
  1 train
  2 decode
  3 table"

. "$here/../../../utils/parse_options.sh"
. "$here/../../../utils/stages.sh"
[ $# -eq 0 ] || { echo "run.sh: unexpected argument $1; --help lists the options" >&2; exit 1; }

cd "$here"
dl_dir=$(from_caller "$caller" "$dl_dir")
config=$(from_caller "$caller" "$config")
../../../tools/setup.sh
. ./path.sh
. ./cmd.sh

if [ -z "$exp_dir" ]; then
  exp_dir=exp/$(basename "$config" .yaml)
fi

# An update takes two micro-batches, however they are shared.
if [ -z "$world_size" ]; then
  world_size=1
  if [ "$(nproc)" -ge 2 ] && ! nvidia-smi -L >/dev/null 2>&1; then
    world_size=2
  fi
fi

if stage_wanted 0; then
  ./prepare.sh --dl-dir "$dl_dir" --nj "$nj" --vocab-size "$vocab_size"
fi

if stage_wanted 1; then
  echo "training: $exp_dir/log/train.log"
  # shellcheck disable=SC2086,SC2154
  follow "$exp_dir/log/train.log" $train_cmd "$exp_dir/log/train.log" \
    train.py --config "$config" --exp-dir "$exp_dir" --manifest-dir data/cuts \
    --bpe-model "data/lang_bpe_$vocab_size/bpe.model" \
    --world-size "$world_size" --accum-grad $((2 / world_size)) $train_opts
fi

# has_results METHOD: whether every set has been decoded.
has_results() {
  local set
  for set in $decode_sets; do
    [ -f "$exp_dir/decode_$1/$set/summary.json" ] || return 1
  done
}

# decode METHOD: results newer than the model and made with the same options are kept.
decode() {
  local method=$1 marker=$exp_dir/decode_$1/.done log=$exp_dir/log/decode_$1.log
  # shellcheck disable=SC2086
  set -- decode.py --exp-dir "$exp_dir" --manifest-dir data/cuts --decode-sets $decode_sets \
    --decoding-method "$method" --beam-size "$beam_size" $decode_opts
  if ! $force && is_done "$marker" "$@" && has_results "$method" &&
    [ -z "$(find "$exp_dir" -maxdepth 1 -name '*.pt' -newer "$marker" -print -quit)" ]; then
    echo "decoding: $method: newer than the model, kept"
    return 0
  fi
  echo "decoding: $method: $log"
  # shellcheck disable=SC2086,SC2154
  follow "$log" $decode_cmd "$log" "$@" || return 1
  mark_done "$marker" "$@"
}

if stage_wanted 2; then
  for method in $decode_methods; do
    decode "$method"
  done
fi

if stage_wanted 3; then
  score.py table "$exp_dir"
  if grep -qs '"kind": "synthetic"' data/corpus/source.json; then
    echo "NOTICE: synthetic speech: these rates are not comparable with results on the real recordings."
  fi
fi
