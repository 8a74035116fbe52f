# shellcheck shell=bash
# shellcheck disable=SC1091,SC2034,SC2154
# What the run.sh of all recipes share: options, training, decoding, the table. Source it first; the recipe then sets
# its own defaults, and sources parse_options.sh and stages.sh.

stage=0
stop_stage=100
nj=$(nproc)
features=
noise=
perturb_speed=
vocab_size=500
token_type=bpe
token_list=
ngram_order=
config=conf/train.yaml
exp_dir=
world_size=
micro_batches=1
train_opts=
train_set=
dev_set=
decode_sets=
decode_methods="greedy_search beam_search modified_beam_search"
beam_size=4
decode_nj=1
decode_opts=
force=false

# experiment_options: the help of these options, with the defaults of the recipe.
experiment_options() {
  cat <<TEXT
  --stage N, --stop-stage N   first and last stage (default: $stage, $stop_stage)
  --nj N                      processes for features (default: $nj)
  --features stored|onthefly  see prepare.sh --help (default: its own)
  --noise DIR                 see prepare.sh --help; mixed in while training (default: none)
  --perturb-speed "FACTORS"   see prepare.sh --help (default: its own)
  --vocab-size "N"            tokens; of several numbers the first is trained (default: $vocab_size)
  --token-type bpe|char|file  what a token is; char and file need no --vocab-size (default: $token_type)
  --token-list FILE, --ngram-order "N"  see prepare.sh --help (default: its own)
  --config FILE.yaml          configuration of the training (default: $config)
  --exp-dir DIR               folder of the model and results (default: exp/ and the name of the configuration)
  --world-size N              training processes, at most --micro-batches; the results are the same (default: as many as
                              micro-batches where there are as many cores and no GPU, else 1)
  --micro-batches N           micro-batches that make one update, shared among the processes (default: $micro_batches)
  --train-opts "OPTIONS"      more options of train.py, such as "--num-epochs 3" (default: none)
  --train-set NAME            set to train on (default: ${train_set:-the first whose name begins with train})
  --dev-set NAME              set to measure after each epoch (default: ${dev_set:-the first whose name begins with dev})
  --decode-sets "NAMES"       sets to decode (default: ${decode_sets:-all but the training set})
  --decode-methods "NAMES"    (default: "$decode_methods")
  --beam-size N               (default: $beam_size)
  --decode-nj N               jobs that share the decoding of each set (default: $decode_nj)
  --decode-opts "OPTIONS"     more options of decode.py (default: "$decode_opts")
  --force true|false          decode again what is newer than the model (default: $force)
  --config FILE               a FILE not named .yaml is a shell file that sets any of these (nj=8)

Stages:
  0 prepare (prepare.sh has stages of its own)
  1 train
  2 decode
  3 table
TEXT
}

# begin_experiment CALLER: the environment, in the folder of the recipe. CALLER is where the user stands.
begin_experiment() {
  dl_dir=$(from_caller "$1" "${dl_dir-}")
  import=$(sets_from_caller "$1" "${import-}")
  token_list=$(from_caller "$1" "$token_list")
  noise=$(from_caller "$1" "$noise")
  config=$(from_caller "$1" "$config")
  "$here/../../../tools/setup.sh"
  . ./path.sh
  . ./cmd.sh
  exp_dir=${exp_dir:-exp/$(basename "$config" .yaml)}
  if [ -z "$world_size" ]; then
    world_size=1
    if [ "$(nproc)" -ge "$micro_batches" ] && ! nvidia-smi -L >/dev/null 2>&1; then
      world_size=$micro_batches
    fi
  fi
}

# prepare VARIABLE...: call prepare.sh with the options of these names and of those that all recipes have.
prepare() {
  local name options=()
  for name in "$@" nj vocab_size token_type token_list ngram_order features noise perturb_speed; do
    [ -z "${!name}" ] || options+=("--${name//_/-}" "${!name}")
  done
  ./prepare.sh "${options[@]}"
}

# train: from the newest checkpoint on, if there is one.
train() {
  local lang=data/lang_bpe_${vocab_size%% *} mixed=()
  [ "$token_type" = bpe ] || lang=data/lang_$token_type
  train_set=${train_set:-$(first_set train "$(cat data/manifests/sets)")} || return 1
  dev_set=${dev_set:-$(first_set dev "$(cat data/manifests/sets)")} || return 1
  [ -z "$noise" ] || mixed=(--noise-manifest data/noise/noise.jsonl)
  echo "training: $exp_dir/log/train.log"
  # shellcheck disable=SC2086
  follow "$exp_dir/log/train.log" $train_cmd "$exp_dir/log/train.log" \
    train.py --config "$config" --exp-dir "$exp_dir" --manifest-dir data/cuts \
    --train-set "$train_set" --dev-set "$dev_set" --bpe-model "$lang/bpe.model" \
    --world-size "$world_size" --accum-grad $((micro_batches / world_size)) ${mixed[@]+"${mixed[@]}"} $train_opts
}

# has_results METHOD: whether every set has been decoded.
has_results() {
  local set
  for set in $decode_sets; do
    [ -f "$exp_dir/decode_$1/$set/summary.json" ] || return 1
  done
}

# decode METHOD: results newer than the model and made with the same options are kept.
decode() {
  local method=$1 marker=$exp_dir/decode_$1/.done log=$exp_dir/log/decode_$1.log merge=()
  # shellcheck disable=SC2086
  set -- decode.py --exp-dir "$exp_dir" --manifest-dir data/cuts --decode-sets $decode_sets \
    --decoding-method "$method" --beam-size "$beam_size" $decode_opts
  if ! $force && is_done "$marker" "$@" && has_results "$method" &&
    [ -z "$(find "$exp_dir" -maxdepth 1 -name '*.pt' -newer "$marker" -print -quit)" ]; then
    echo "decoding: $method: newer than the model, kept"
    return 0
  fi
  if [ "$decode_nj" -gt 1 ]; then
    decode_parts "$method" "$@" || return 1
    merge=(--merge "$decode_nj")
  fi
  echo "decoding: $method: $log"
  # shellcheck disable=SC2086
  follow "$log" $decode_cmd "$log" "$@" ${merge[@]+"${merge[@]}"} || return 1
  mark_done "$marker" "$@"
}

# decode_parts METHOD COMMAND...: the parts of all sets, as an array of jobs. Parts that are done are kept.
decode_parts() {
  local method=$1 log=$exp_dir/log/decode_$1.JOB.log threads=
  shift
  ! $force || rm -rf "$exp_dir/decode_$method"/*/parts
  # On one machine the jobs share the cores.
  [[ $decode_cmd != run.pl* ]] || threads="--threads $((decode_nj < $(nproc) ? $(nproc) / decode_nj : 1))"
  echo "decoding: $method: $decode_nj jobs, the first is shown: $log"
  # shellcheck disable=SC2086
  if ! follow "${log/JOB/1}" $decode_cmd JOB=1:"$decode_nj" "$log" "$@" $threads --split "JOB/$decode_nj"; then
    echo "${0##*/}: decoding: $method: a job failed (see above); call again: the parts that are done are kept" >&2
    return 1
  fi
}

# run_experiment: stages 1 to 3.
run_experiment() {
  local method
  if stage_wanted 1; then
    train
  fi
  if stage_wanted 2; then
    decode_sets=${decode_sets:-$(grep -v ^train data/manifests/sets | paste -sd' ')}
    for method in $decode_methods; do
      decode "$method"
    done
  fi
  if stage_wanted 3; then
    score.py table "$exp_dir"
  fi
}
