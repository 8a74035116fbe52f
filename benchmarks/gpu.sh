#!/usr/bin/env bash
# Everything that is measured on one GPU, in at most 10 minutes: a bare checkout beside an installed PyTorch is enough.
#
#   benchmarks/gpu.sh [--toy]
#
# --toy  small sizes on the CPU, with Triton's interpreter: to see that every step runs
#
# PYTHON names the interpreter (default: python3). Tests come first: where one fails, nothing is measured.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
python=${PYTHON:-python3}
toy=false
case ${1-} in
  --toy) toy=true ;;
  "") ;;
  *) echo "gpu.sh: unknown option $1; the option is --toy" >&2 && exit 1 ;;
esac

# measure TITLE COMMAND...: its seconds, and the rest goes on where it fails.
status=0
measure() {
  local start=$SECONDS title=$1
  shift
  printf '\n== %s\n$ %s\n' "$title" "$*"
  "$@" || { status=1 && echo "== FAILED: $title"; }
  echo "== $((SECONDS - start)) s"
}

tests=(test/rnnt/loss/native/test_triton_kernels.py test/rnnt/ops/test_triton_swoosh.py
  test/rnnt/search/test_on_gpu.py test/rnnt/model/test_on_gpu.py)
pytest=("$python" -m pytest -p no:cacheprovider -q --no-header)
if $toy; then
  TRITON_INTERPRET=1 "${pytest[@]}" "${tests[0]}" -k "recursion and regular"
  measure "losses" "$python" benchmarks/loss.py --batch 2 --frames 12 --symbols 4 --width 8 --vocab 10 --rounds 1 --full
  measure "MLPerf training step" "$python" benchmarks/mlperf_training.py --device cpu --precisions fp32 \
    --micro-batches 2 --scale 0.05 --steps 1 --warm-up 1 --dev 2
  measure "Zipformer step" "$python" benchmarks/zipformer.py --utterances 1 --seconds 0.5 --repeats 1
  measure "decoding" "$python" benchmarks/decoding.py --device cpu --precision fp32 --hours 0.005 --repeats 1 \
    --batch-seconds 20 --train-opts "--encoder-layers 1 --encoder-dim 16 --feedforward-dim 16 --conv-kernel 3" \
    --vocab-size 20
  exit $status
fi

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
"${pytest[@]}" "${tests[@]}"
measure "ceilings of the card" "$python" benchmarks/ceilings.py
loss=("$python" benchmarks/loss.py --device cuda --rounds 20 --full)
measure "losses, float32 (k2 published 63 ms and 3.8 GB for V 500 on a V100)" "${loss[@]}"
measure "losses, bfloat16" "${loss[@]}" --bfloat16
measure "MLPerf training step" "$python" benchmarks/mlperf_training.py --micro-batches 192 512 1024 --precisions bf16
# Compilation takes minutes on some machines; what is not compiled is printed first.
zipformer=("$python" benchmarks/zipformer.py --size m --device cuda --precision bf16 --utterances 60 --seconds 15)
measure "Zipformer step, medium, bfloat16" "${zipformer[@]}"
measure "the same, compiled" timeout 120 "${zipformer[@]}" --repeats 3 --compile
measure "decoding, 110 M parameters" "$python" benchmarks/decoding.py --train-opts "--encoder-layers 17"
exit $status
