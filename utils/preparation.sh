# shellcheck shell=bash
# shellcheck disable=SC2154
#   2 noise manifests, if asked for      data/noise_manifests
#   3 fbank features                     data/fbank
#   4 noise fbank, if asked for          data/noise; train.py --noise-manifest data/noise/noise.jsonl mixes it in
#   5 SentencePiece model or token list  data/lang_bpe_<vocab-size>, data/lang_char or data/lang_file
#   6 validation, filtering, statistics  data/cuts
#   7 n-grams of tokens                  data/lang_*

# Stages 2 to 7 of every prepare.sh. An array such as token_options holds the options of a group that are not defaults.

if [ -n "$noise" ]; then
  stage 2 "noise manifests" data/noise_manifests \
    python3 "$RNNT_ROOT/local/make_noise_manifest.py" --noise-dir "$noise" --out data/noise_manifests --nj "$nj"
else
  skip_stage 2 "noise manifests" "none asked for"
fi

stage 3 fbank data/fbank \
  python3 "$RNNT_ROOT/local/compute_fbank.py" --config "$fbank_config" --manifest-dir data/manifests --out data/fbank \
  "${set_options[@]}" "${speed_options[@]}" --nj "$nj" --cmd "$decode_cmd"

if [ -n "$noise" ]; then
  stage 4 "noise fbank" data/noise \
    python3 "$RNNT_ROOT/local/compute_fbank.py" --config "$fbank_config" --manifest-dir data/noise_manifests \
    --out data/noise --sets noise --window 10 "${feature_options[@]}" --nj "$nj" --cmd "$decode_cmd"
else
  skip_stage 4 "noise fbank" "none asked for"
fi

for lang in "${langs[@]}"; do
  size=()
  [ "$token_type" != bpe ] || size=(--vocab-size "${lang##*_}")
  stage 5 tokens "$lang" \
    python3 "$RNNT_ROOT/local/train_bpe.py" --manifest-dir data/manifests --out "$lang" \
    "${size[@]}" "${token_options[@]}" "${train_set_options[@]}"
done

# The first of several vocabularies is the one that stage 6 checks with.
stage 6 "validation and statistics" data/cuts \
  python3 "$RNNT_ROOT/local/validate.py" --fbank-dir data/fbank --manifest-dir data/manifests --out data/cuts \
  --bpe-model "${langs[0]}/bpe.model" "${set_options[@]}" "${validation_options[@]}"

for lang in "${langs[@]}"; do
  # shellcheck disable=SC2086
  stage 7 n-gram "$lang" \
    python3 "$RNNT_ROOT/local/make_ngram.py" --lang-dir "$lang" --order $ngram_order
done
