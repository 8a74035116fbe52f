#!/usr/bin/env bash
# A throw-away Grid Engine on this machine (root): start_grid_engine.sh DIR, then `. DIR/env.sh`; stop_grid_engine.sh DIR.
# Everything lies below DIR. $PORT: the first of two free ports.
set -euo pipefail
dir=${1:?folder}
gpus=2
slots=4
memory=16G
port=${PORT:-26444}
host=$(hostname -s)
programs=/usr/lib/gridengine
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
root=$dir/root
common=$root/default/common
mkdir -p "$common" "$dir/spool/qmaster/job_scripts" "$dir/spool/execd" "$dir/tmp"
chmod 755 "$dir" "$root"
for folder in bin lib utilbin; do
  mkdir -p "$root/$folder"
  ln -s "$programs" "$root/$folder/lx-amd64"
done
ln -s /usr/share/gridengine/util "$root/util"

# The real programs go first: those of /usr/bin are slow shell wrappers.
cat >"$dir/env.sh" <<ENV
export SGE_ROOT=$root SGE_CELL=default SGE_ARCH=lx-amd64 SGE_CLUSTER_NAME=throwaway
export SGE_QMASTER_PORT=$port SGE_EXECD_PORT=$((port + 1))
export PATH=$programs:\$PATH
ENV
# shellcheck source=/dev/null
. "$dir/env.sh"

cat >"$common/bootstrap" <<CONF
admin_user              none
default_domain          none
ignore_fqdn             true
spooling_method         classic
spooling_lib            libspoolc
spooling_params         $common;$dir/spool/qmaster
binary_path             $programs
qmaster_spool_dir       $dir/spool/qmaster
security_mode           none
listener_threads        2
worker_threads          2
scheduler_threads       1
CONF
# 127.0.0.1 may be called localhost first: every name of it is an alias of the real one.
echo "$host $(getent hosts 127.0.0.1 | awk '{$1 = ""; print}' | tr ' ' '\n' | grep -vx "$host" | sort -u | tr '\n' ' ')" \
  localhost >"$common/host_aliases"
echo "$host" >"$common/act_qmaster"
echo throwaway >"$common/cluster_name"
sed -e "s#^execd_spool_dir .*#execd_spool_dir $dir/spool/execd#" \
  -e 's/^min_uid .*/min_uid 0/' -e 's/^min_gid .*/min_gid 0/' \
  -e 's#^mailer .*#mailer /bin/true#' -e 's/^administrator_mail .*/administrator_mail none/' \
  -e 's/^load_report_time .*/load_report_time 00:00:02/' -e 's/flush_time=00:00:15/flush_time=00:00:01/' \
  -e 's/^shell_start_mode .*/shell_start_mode posix_compliant/' \
  -e 's/^execd_params .*/execd_params ENABLE_ADDGRP_KILL=true NOTIFY_KILL=TERM/' \
  /usr/share/gridengine/default-configuration >"$dir/configuration"
spool() { LD_LIBRARY_PATH=$programs "$programs/$1" "${@:2}"; }
spool spoolinit classic libspoolc "$common;$dir/spool/qmaster" init
spool spooldefaults configuration "$dir/configuration"
spool spooldefaults complexes /usr/share/gridengine/util/resources/centry
spool spooldefaults usersets /usr/share/gridengine/util/resources/usersets
spool spooldefaults managers "$(id -un)"

sge_qmaster
up=false
for ((t = 0; t < 100; t++)); do
  if timeout 5 qconf -sh >/dev/null 2>&1; then
    up=true
    break
  fi
  sleep 0.1
done
$up || {
  echo "start_grid_engine.sh: qmaster does not answer" >&2
  tail -n 5 "$dir/spool/qmaster/messages" >&2
  exit 1
}

# The scheduler acts at once.
qconf -ssconf | sed -e 's/^schedule_interval .*/schedule_interval 0:0:1/' \
  -e 's/^flush_submit_sec .*/flush_submit_sec 1/' -e 's/^flush_finish_sec .*/flush_finish_sec 1/' \
  -e 's/^job_load_adjustments .*/job_load_adjustments NONE/' >"$dir/tmp/scheduler"
qconf -Msconf "$dir/tmp/scheduler"
qconf -sc | sed 's/^mem_free .*/mem_free mf MEMORY <= YES YES 0 0/' >"$dir/tmp/complexes"
printf 'gpu gpu INT <= YES YES 0 0\nram_free ram_free MEMORY <= YES YES 0 0\n' >>"$dir/tmp/complexes"
qconf -Mc "$dir/tmp/complexes"

qconf -ah "$host"
qconf -as "$host"
cat >"$dir/tmp/host" <<CONF
hostname $host
load_scaling NONE
complex_values gpu=$gpus,ram_free=$memory,mem_free=$memory,slots=$slots
user_lists NONE
xuser_lists NONE
projects NONE
xprojects NONE
usage_scaling NONE
report_variables NONE
CONF
qconf -Ae "$dir/tmp/host" || qconf -Me "$dir/tmp/host"
printf 'group_name @allhosts\nhostlist %s\n' "$host" >"$dir/tmp/group"
qconf -Ahgrp "$dir/tmp/group"
cat >"$dir/tmp/smp" <<'CONF'
pe_name smp
slots 9999
user_lists NONE
xuser_lists NONE
start_proc_args NONE
stop_proc_args NONE
allocation_rule $pe_slots
control_slaves TRUE
job_is_first_task TRUE
urgency_slots min
accounting_summary FALSE
qsort_args NONE
CONF
qconf -Ap "$dir/tmp/smp"
qconf -sq | sed -e 's/^qname .*/qname all.q/' -e 's/^hostlist .*/hostlist @allhosts/' -e "s/^slots .*/slots $slots/" \
  -e 's/^pe_list .*/pe_list smp/' -e 's#^shell .*#shell /bin/bash#' \
  -e 's/^shell_start_mode .*/shell_start_mode posix_compliant/' -e "s#^tmpdir .*#tmpdir $dir/tmp#" \
  -e 's/^load_thresholds .*/load_thresholds NONE/' -e 's/^notify .*/notify 00:00:05/' \
  -e 's/^rerun .*/rerun TRUE/' >"$dir/tmp/queue"
qconf -Aq "$dir/tmp/queue"

sge_execd
for ((t = 0; t < 200; t++)); do
  # Up when the host has reported its load.
  if [ -z "$(qselect -q all.q -qs u 2>/dev/null)" ] &&
    qhost -h "$host" | awk 'NR > 3 && !/global/ && $(NF - 2) != "-" { found = 1 } END { exit !found }'; then
    exit 0
  fi
  sleep 0.1
done
echo "start_grid_engine.sh: execd does not report; see $dir/spool" >&2
exit 1
