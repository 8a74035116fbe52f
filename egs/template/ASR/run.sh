#!/usr/bin/env bash
# From a corpus in any common form to a table of word error rates. ./run.sh --help
set -euo pipefail
caller=$PWD
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../../../utils/experiment.sh"

# shellcheck disable=SC2034  # used by prepare
import=
# shellcheck disable=SC2034
hold_out=
# shellcheck disable=SC2034
allow_pipes=

help_message="Usage: run.sh --import \"train=PATH dev=PATH test=PATH\" [options]

Builds the environment, prepares the data, trains, decodes and prints a table. Call it again at any time: it skips what
is done and goes on where it stopped.

  --import \"SETS\", --hold-out \"NAME=SET:N\", --allow-pipes true|false
                              a corpus in any common form; see prepare.sh --help (default: its own)
$(experiment_options)"

. "$here/../../../utils/parse_options.sh"
. "$here/../../../utils/stages.sh"

cd "$here"
begin_experiment "$caller"
if stage_wanted 0; then
  prepare import hold_out allow_pipes
fi
run_experiment
