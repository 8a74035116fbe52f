#!/usr/bin/env bash
# stop_grid_engine.sh DIR: delete all jobs, end execd and qmaster by their recorded numbers.
dir=${1:?folder}
# shellcheck source=/dev/null
. "$dir/env.sh"
timeout 10 qdel -f -u '*' >/dev/null 2>&1
# shellcheck source=end_daemons.sh
. "$(dirname "${BASH_SOURCE[0]}")/end_daemons.sh"
end_daemons "$dir"/spool/execd/*/execd.pid "$dir/spool/qmaster/qmaster.pid"
