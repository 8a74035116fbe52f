#!/usr/bin/env bash
# From a bare machine to a table of word error rates on connected digits. ./run.sh --help
set -euo pipefail
caller=$PWD
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../../../utils/experiment.sh"

dl_dir=
vocab_size=30
micro_batches=2
train_set=train
dev_set=dev
decode_sets="dev test test-newspeaker"
# Two digits never share a frame of 80 ms. One thread decodes such a small model faster than two that wait for each other.
decode_opts="--avg 2 --max-sym-per-frame 1 --threads 1"

help_message="Usage: run.sh [options]

Builds the environment, prepares the data, trains, decodes and prints a table. Call it again at any time: it skips what
is done and goes on where it stopped.

  --dl-dir DIR                folder that holds fsdd/recordings (default: a download, else synthetic speech)
$(experiment_options)"

. "$here/../../../utils/parse_options.sh"
. "$here/../../../utils/stages.sh"

cd "$here"
begin_experiment "$caller"
if stage_wanted 0; then
  prepare dl_dir
fi
run_experiment
if stage_wanted 3 && grep -qs '"kind": "synthetic"' data/corpus/source.json; then
  echo "NOTICE: synthetic speech: these rates are not comparable with results on the real recordings."
fi
