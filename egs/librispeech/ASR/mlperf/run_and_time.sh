#!/usr/bin/env bash
# MLPerf's RNN-T as the benchmark times it: preparation, N trials to the target, the result. ./run_and_time.sh --help
set -euo pipefail
mlperf=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

trials=10
seed=
prepare=true
dl_dir=
results=exp/results
clear_caches=true
check=true
launcher=
train_opts=
launch_opts="--global-batch 1024"

help_message="Usage: mlperf/run_and_time.sh [options]

Prepares the data, trains N times to the target with different seeds, checks each log with mlperf-logging's checker and
prints the mean time without the best and the worst run. Trials that are done are kept: call it again to continue.

  --trials N              (default: $trials)
  --seed N                seed of the first trial, +1 for each further one (default: from the system's source of randomness)
  --launch-opts \"OPTIONS\" of launch.py: GPUs, batch, precision, --synthetic; see launch.py --help
                          (default: \"$launch_opts\")
  --train-opts \"OPTIONS\"  of train.py, such as \"--num-buckets 6\" (default: none)
  --prepare true|false    call prepare.sh first; not needed with --synthetic true (default: $prepare)
  --dl-dir DIR            see prepare.sh --help
  --results DIR           folder of the logs, result_N.txt, relative to mlperf/ (default: $results)
  --clear-caches true|false  empty the page cache before each trial where root's rights allow it (default: $clear_caches)
  --check true|false      check each log (default: $check)
  --launcher \"COMMAND\"    starts the processes, such as \"srun --ntasks-per-node 8\" (default: none)"

. "$mlperf/../../../../utils/parse_options.sh"
[ $# -eq 0 ] || {
  echo "${0##*/}: unexpected argument $1; --help lists the options" >&2
  exit 1
}

if $prepare; then
  "$mlperf/prepare.sh" --dl-dir "$dl_dir"
fi
cd "$mlperf/.."
# shellcheck source=../path.sh
. ./path.sh
cd "$mlperf"
mkdir -p "$results"

# check_log LOG: what the checker says, in LOG.checked; a rejection ends nothing.
check_log() {
  if python3 -m mlperf_logging.compliance_checker --usage training --ruleset 3.1.0 --log_output "$1.checked" "$1" \
    >/dev/null 2>&1; then
    echo "compliance check: SUCCESS"
  elif [ -f "$1.checked" ]; then
    echo "compliance check: rejected, see $1.checked"
  else
    echo "compliance check: not done, the package mlperf-logging is not installed"
  fi
}

for trial in $(seq "$trials"); do
  log=$results/result_$trial.txt
  if grep -qs '"run_stop"' "$log"; then
    echo "trial $trial: done before, kept: $log"
    continue
  fi
  if [ -n "$seed" ]; then
    trial_seed=$((seed + trial - 1))
  else
    trial_seed=$(od -An -N3 -tu4 /dev/urandom | tr -d ' ')
  fi
  cleared=false
  if $clear_caches && sync && { echo 3 >/proc/sys/vm/drop_caches; } 2>/dev/null; then
    cleared=true
  fi
  start=$(date +%s)
  started=$(date "+%Y-%m-%d %r")
  echo "STARTING TIMING RUN AT $started"
  # A trial starts from the beginning: what an interrupted one left is removed.
  rm -rf "$results/trial_$trial"
  # shellcheck disable=SC2086
  $launcher python3 launch.py --seed "$trial_seed" --exp-dir "$results/trial_$trial" $launch_opts \
    --train-opts "--mllog-cache-cleared $cleared $train_opts" 2>&1 | tee "$log.part"
  mv "$log.part" "$log"
  echo "ENDING TIMING RUN AT $(date "+%Y-%m-%d %r")"
  echo "RESULT,RNN_SPEECH_RECOGNITION,,$(($(date +%s) - start)),$(id -un),$started"
  ! $check || check_log "$log"
done
python3 results.py "$results"/result_*.txt
