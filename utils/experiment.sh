# shellcheck shell=bash
# shellcheck disable=SC2154
# Stages:
#   0 preparation (by prepare.sh, whose --help lists its stages)
#   1 training
#   2 decoding
#   3 table
#
# Call it again at any time: it skips what is done and continues where it stopped.

# Stages 1 to 3 of every run.sh, after `stage 0 ... ./prepare.sh`.

# From the newest checkpoint on, if there is one.
if stage_wanted 1; then
  text=$(python3 "$RNNT_ROOT/local/choose_sets.py" "${set_options[@]}" --dev-set "$dev_set")
  eval "$text"
  mixed=()
  [ -z "$noise" ] || mixed=(--noise-manifest data/noise/noise.jsonl)
  log=$exp_dir/log/train.log
  # shellcheck disable=SC2086
  stage 1 training "" --log "$log" \
    $train_cmd "$log" train.py --config "$train_config" --exp-dir "$exp_dir" --manifest-dir data/cuts \
    --train-set "$train_set" --dev-set "$dev_set" --bpe-model "${langs[0]}/bpe.model" \
    --world-size "$world_size" --accum-grad $((micro_batches / world_size)) "${mixed[@]}" $train_opts
fi

stage 2 decoding "" \
  python3 "$RNNT_ROOT/local/decode_sets.py" --exp-dir "$exp_dir" --cmd "$decode_cmd" "${run_decoding_options[@]}"

# The table is the last that is shown.
if stage_wanted 3; then
  printf '%s: stage 3: table\n  score.py table %q\n' "${0##*/}" "$exp_dir"
  score.py table "$exp_dir"
fi
