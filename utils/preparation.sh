# shellcheck shell=bash
# shellcheck disable=SC1091,SC2034,SC2154
# What the prepare.sh of all recipes share: options, the import of a corpus, and stages 2 to 7. Source it first; the
# recipe then sets its own defaults, and sources parse_options.sh and stages.sh.

stage=
stop_stage=100
nj=$(nproc)
vocab_size=500
token_type=bpe
token_list=
blank=first
ngram_order="2 3"
fbank_config=conf/fbank.yaml
features=stored
noise=
perturb_speed=
subsampling_factor=4
max_duration_utt=30
train_set=
sets=

# preparation_options: the help of these options, with the defaults of the recipe.
preparation_options() {
  cat <<TEXT
  --stage N          run stage N and all later ones, done or not (default: only what is not done)
  --stop-stage N     end after stage N (default: $stop_stage)
  --nj N             jobs of stage 3, run by \$decode_cmd of cmd.sh, and processes of other stages (default: $nj)
  --vocab-size "N"   tokens; several numbers make several models (default: $vocab_size)
  --token-type bpe|char|file  what a token is; char and file need no --vocab-size (default: $token_type)
  --token-list FILE  the tokens of --token-type file, one a line; docs/new_corpus.md (default: "$token_list")
  --blank first|last  id of blank: 0, or behind the tokens as in MLPerf's RNN-T (default: $blank)
  --ngram-order "N"  orders of the token n-grams, 2 to 5 (default: "$ngram_order")
  --fbank-config FILE  the front-end (default: $fbank_config)
  --features stored|onthefly  compute the features in stage 3, or whenever they are needed (default: $features)
  --perturb-speed "FACTORS"  speeds of further copies of the training set, such as "0.9 1.1"
                     (default: "$perturb_speed")
  --subsampling-factor N  input frames per encoder frame, as the training has it (default: $subsampling_factor)
  --noise DIR        folder of recordings that training may mix in, in any format (default: ${noise:-none})
  --max-duration-utt X  longer utterances, in seconds, are left out of all sets (default: $max_duration_utt)
  --train-set NAME   set for the tokens and the statistics (default: ${train_set:-the one whose name begins with train})
  --sets "NAMES"     all sets (default: ${sets:-those that stage 1 made})
  --config FILE      shell file that sets any of these (stop_stage=5)
TEXT
}

# import_options: the help of --import, --hold-out and --allow-pipes, for recipes that have them.
import_options() {
  cat <<TEXT
  --import "SETS"    a corpus in any common form, such as "train=DIR dev=FILE.tsv test=FILE.jsonl": Kaldi data
                     directories, tables, lhotse manifests; docs/new_corpus.md (default: ${import:-none})
  --hold-out "NAME=SET:N"  a set NAME made of N speakers of an imported SET, such as dev=train:12
                     (default: ${hold_out:-none})
  --allow-pipes true|false  run the commands in wav.scp of an imported corpus (default: $allow_pipes)
TEXT
}

# preparation_stages: the help of stages 2 to 7.
preparation_stages() {
  cat <<TEXT
  2 noise manifests, if asked for    data/noise_manifests
  3 fbank features                   data/fbank
  4 noise fbank, if asked for        data/noise; train.py --noise-manifest data/noise/noise.jsonl mixes it in
  5 SentencePiece model              data/lang_bpe_<vocab-size>, data/lang_char or data/lang_file
  6 validation, filtering, statistics  data/cuts
  7 n-gram of tokens                 data/lang_*
TEXT
}

# begin_preparation CALLER: the environment, in the folder of the recipe. CALLER is where the user stands.
begin_preparation() {
  dl_dir=$(from_caller "$1" "${dl_dir-}")
  fbank_config=$(from_caller "$1" "$fbank_config")
  import=$(sets_from_caller "$1" "${import-}")
  token_list=$(from_caller "$1" "$token_list")
  noise=$(from_caller "$1" "$noise")
  "$here/../../../tools/setup.sh"
  . ./path.sh
  . ./cmd.sh
}

# import_corpus: stages 0 and 1 of a corpus given by --import.
import_corpus() {
  skip_stage 0 corpus "imported"
  if [ -z "$import" ] && [ -z "$stage" ] && stage_has_run 1 data/manifests; then
    skip_stage 1 manifests "done before"
    return 0
  fi
  if [ -z "$import" ]; then
    echo "${0##*/}: --import says where the corpus is, such as --import \"train=DIR dev=DIR test=DIR\"" >&2
    return 1
  fi
  # shellcheck disable=SC2086
  run_stage 1 manifests data/manifests \
    python3 "$RNNT_ROOT/local/import_corpus.py" --sets $import --hold-out "$hold_out" \
    --allow-pipes "$allow_pipes" --out data/manifests --nj "$nj"
}

# list_sets: the names of all sets, as given or as stage 1 listed them.
list_sets() {
  if [ -n "$sets" ]; then
    echo "$sets"
  elif [ -f data/manifests/sets ]; then
    paste -sd' ' data/manifests/sets
  else
    echo "${0##*/}: data/manifests/sets: no such file; run ./prepare.sh --stage 1, or give --sets" >&2
    return 1
  fi
}

# compute_fbank OUT --nj N OPTIONS...: the features of sets, in N jobs. What is done of a set that was stopped is kept.
compute_fbank() {
  local out=$1 jobs=$3
  shift 3
  set -- "$RNNT_ROOT/local/compute_fbank.py" --out "$out" "$@"
  if [ "$features" = onthefly ]; then
    python3 "$@"
    return
  fi
  python3 "$@" --plan || return 1
  echo "features: $jobs jobs, the first is shown: $out/log/fbank.JOB.log"
  # The last of several --gpu counts, the least of several --num-threads.
  # shellcheck disable=SC2086
  follow "$out/log/fbank.1.log" $decode_cmd --gpu 0 --num-threads 1 JOB=1:"$jobs" "$out/log/fbank.JOB.log" \
    python3 "$@" --split "JOB/$jobs" || return 1
  python3 "$@" --merge
}

# prepare_shared: stages 2 to 7. The first of several vocabulary sizes is the one that stage 6 checks with.
prepare_shared() {
  local names langs=() lang size
  [ "$stop_stage" -ge 2 ] || return 0
  names=$(list_sets) || return 1
  train_set=${train_set:-$(first_set train "$names")} || return 1
  if [ -n "$noise" ]; then
    run_stage 2 "noise manifests" data/noise_manifests \
      python3 "$RNNT_ROOT/local/make_noise_manifest.py" --noise-dir "$noise" --out data/noise_manifests --nj "$nj"
  else
    skip_stage 2 "noise manifests" "none asked for"
  fi
  # shellcheck disable=SC2086
  run_stage 3 fbank data/fbank \
    compute_fbank data/fbank --nj "$nj" --config "$fbank_config" --features "$features" \
    --manifest-dir data/manifests --sets $names --train-set "$train_set" --perturb-speed $perturb_speed
  if [ -n "$noise" ]; then
    run_stage 4 "noise fbank" data/noise \
      compute_fbank data/noise --nj "$nj" --config "$fbank_config" --features "$features" \
      --manifest-dir data/noise_manifests --sets noise --window 10
  else
    skip_stage 4 "noise fbank" "none asked for"
  fi
  if [ "$token_type" != bpe ]; then
    vocab_size=
    langs=("data/lang_$token_type")
    run_stage 5 "tokens" "${langs[0]}" \
      python3 "$RNNT_ROOT/local/train_bpe.py" --manifest-dir data/manifests --train-set "$train_set" \
      --token-type "$token_type" --token-list "$token_list" --out "${langs[0]}"
  fi
  for size in $vocab_size; do
    langs+=("data/lang_bpe_$size")
    run_stage 5 "SentencePiece" "data/lang_bpe_$size" \
      python3 "$RNNT_ROOT/local/train_bpe.py" --manifest-dir data/manifests --train-set "$train_set" \
      --vocab-size "$size" --blank "$blank" --out "data/lang_bpe_$size"
  done
  # shellcheck disable=SC2086
  run_stage 6 "validation and statistics" data/cuts \
    python3 "$RNNT_ROOT/local/validate.py" --fbank-dir data/fbank --out data/cuts --train-set "$train_set" \
    --sets $names --bpe-model "${langs[0]}/bpe.model" --max-drop 5 \
    --subsampling-factor "$subsampling_factor" --max-duration-utt "$max_duration_utt"
  for lang in "${langs[@]}"; do
    # shellcheck disable=SC2086
    run_stage 7 "n-gram" "$lang" \
      python3 "$RNNT_ROOT/local/make_ngram.py" --lang-dir "$lang" --order $ngram_order
  done
}
