#!/usr/bin/env bash
# stop_slurm.sh DIR: cancel all jobs and end the daemons of that cluster by their recorded numbers, the controller first.
dir=${1:?folder}
export SLURM_CONF=$dir/etc/slurm.conf
timeout 10 scancel -u "$(id -un)" >/dev/null 2>&1
for ((t = 0; t < 40; t++)); do
  [ -n "$(timeout 5 squeue -h 2>/dev/null)" ] || break
  sleep 0.25
done

# shellcheck source=end_daemons.sh
. "$(dirname "${BASH_SOURCE[0]}")/end_daemons.sh"
end_daemons "$dir/run/slurmctld.pid"
end_daemons "$dir"/run/slurmd.*.pid
end_daemons "$dir/run/munged.pid"

port=$(cat "$dir/port")
for space in $(ip netns list 2>/dev/null | awk -v name="rnnt$port-" 'index($1, name) == 1 { print $1 }'); do
  ip netns del "$space"
done
ip link del "rb$port" 2>/dev/null
true
