#!/usr/bin/env bash
# From the Kaldi data directories of the corpus to a table of word error rates. ./run.sh --help
set -euo pipefail
caller=$PWD
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../../../utils/experiment.sh"

# shellcheck disable=SC2034  # used by prepare
dl_dir=
# shellcheck disable=SC2034
import=
# shellcheck disable=SC2034
hold_out=
# shellcheck disable=SC2034
allow_pipes=
vocab_size=100
micro_batches=2
# Chosen on dev.
decode_opts="--avg 5 --threads 1"

help_message="Usage: run.sh --dl-dir DIR [options]

Builds the environment, prepares the data, trains, decodes and prints a table. Call it again at any time: it skips what
is done and goes on where it stopped.

  --dl-dir DIR                folder of the corpus; see prepare.sh --help
  --import \"SETS\", --hold-out \"NAME=SET:N\", --allow-pipes true|false
                              a corpus in any common form; see prepare.sh --help (default: its own)
$(experiment_options)"

. "$here/../../../utils/parse_options.sh"
. "$here/../../../utils/stages.sh"

cd "$here"
begin_experiment "$caller"
if stage_wanted 0; then
  prepare dl_dir import hold_out allow_pipes
fi
run_experiment
