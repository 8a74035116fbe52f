#!/usr/bin/env bash
# A throw-away Slurm of several nodes on this machine: start_slurm.sh DIR [NODES], then `. DIR/env.sh`; stop_slurm.sh DIR.
# Everything lies below DIR. $PORT: the first of NODES + 2 free ports. With NETWORK=true each node is a network namespace
# rnnt$PORT-1, ... with an eth0 of its own, which is cut by `ip -n NAME link set eth0 down`.
set -euo pipefail
dir=${1:?folder}
nodes=${2:-3}
gpus=2
port=${PORT:-26817}
host=$(hostname -s)
address=127.0.0.1
node_network="NodeAddr=127.0.0.1 Port=[$((port + 2))-$((port + 1 + nodes))]"
only_loopback="CommunicationParameters=NoCtldInAddrAny,NoInAddrAny"
mkdir -p "$dir"/{etc,state,log,run,gpu}
dir=$(cd "$dir" && pwd)
chmod 755 "$dir" "$dir/run"
for ((i = 1; i <= nodes; i++)); do mkdir -p "$dir/spool/node$i"; done
# GPUs that are none: only character devices whose names end in a number are taken.
if ${NETWORK:-false}; then
  network=10.99.$((port % 250))
  address=$network.254
  node_network="NodeAddr=$network.[1-$nodes]"
  only_loopback=
  ip link add "rb$port" type bridge
  ip addr add "$address/24" dev "rb$port"
  ip link set "rb$port" up
  for ((i = 1; i <= nodes; i++)); do
    ip netns add "rnnt$port-$i"
    ip link add "rv$port$i" type veth peer name eth0 netns "rnnt$port-$i"
    ip link set "rv$port$i" master "rb$port" up
    ip -n "rnnt$port-$i" addr add "$network.$i/24" dev eth0
    ip -n "rnnt$port-$i" link set eth0 up
    ip -n "rnnt$port-$i" link set lo up
  done
fi
for ((i = 0; i < gpus; i++)); do mknod -m 666 "$dir/gpu/gpu$i" c 1 3; done

(
  umask 077
  dd if=/dev/urandom of="$dir/etc/munge.key" bs=128 count=1 status=none
)
/usr/sbin/munged --force --key-file="$dir/etc/munge.key" --socket="$dir/run/munge.socket" \
  --pid-file="$dir/run/munged.pid" --log-file="$dir/log/munged.log" --seed-file="$dir/run/munge.seed" --num-threads=2

# cred_expire: a requeued job may start again after 5 s instead of 120.
cat >"$dir/etc/slurm.conf" <<CONF
ClusterName=throwaway
SlurmctldHost=$host($address)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$dir/run/munge.socket,cred_expire=5
$only_loopback
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/slurmd.%n.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.%n.log
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
GresTypes=gpu
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,sched_min_interval=100000,bf_interval=1,batch_sched_delay=0,default_queue_depth=1000
# A login shell that is killed while it is busy may leave a lock behind that stops all later ones.
GetEnvTimeout=60
KillWait=${KILL_WAIT:-5}
MinJobAge=300
SlurmctldTimeout=30
SlurmdTimeout=10
MessageTimeout=10
MaxArraySize=10001
NodeName=node[1-$nodes] NodeHostname=$host $node_network CPUs=4 RealMemory=8000 Gres=gpu:$gpus State=UNKNOWN
PartitionName=shared Nodes=node[1-$nodes] Default=YES DefaultTime=01:00:00 DefMemPerCPU=100 PriorityTier=10 State=UP
PartitionName=gpu Nodes=node[1-$nodes] DefaultTime=01:00:00 DefMemPerCPU=100 PriorityTier=10 State=UP
PartitionName=urgent Nodes=node[1-$nodes] DefaultTime=01:00:00 DefMemPerCPU=100 PriorityTier=20 State=UP
CONF
echo "NodeName=node[1-$nodes] Name=gpu Type=fake File=$dir/gpu/gpu[0-$((gpus - 1))]" >"$dir/etc/gres.conf"

export SLURM_CONF=$dir/etc/slurm.conf
echo "export SLURM_CONF=$SLURM_CONF" >"$dir/env.sh"
echo "$port" >"$dir/port"
/usr/sbin/slurmctld -c -f "$SLURM_CONF"
for ((i = 1; i <= nodes; i++)); do
  slurmd=(/usr/sbin/slurmd -c -N "node$i" -f "$SLURM_CONF")
  ! ${NETWORK:-false} || slurmd=(nsenter "--net=/run/netns/rnnt$port-$i" "${slurmd[@]}")
  "${slurmd[@]}"
done
for ((t = 0; t < 200; t++)); do
  idle=$(timeout 5 sinfo -h -N -p shared -t idle -o %N 2>/dev/null | sort -u | wc -l) || idle=0
  if [ "$idle" -eq "$nodes" ]; then
    exit 0
  fi
  sleep 0.1
done
echo "start_slurm.sh: only $idle of $nodes nodes came up; see $dir/log" >&2
exit 1
