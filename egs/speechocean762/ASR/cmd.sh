# shellcheck shell=bash
# How jobs are run: a launcher and its default options. This is the file to edit for another machine (docs/clusters.md).

# local (this machine), slurm or sge (as conf/slurm.conf or conf/queue.conf describe the cluster), ssh (.queue/machines)
cmd_backend=${cmd_backend:-local}

case $cmd_backend in
  local)
    export train_cmd="run.pl"
    export decode_cmd="run.pl"
    ;;
  slurm)
    # Several nodes: add --num-nodes 2 here, and call run.sh with --world-size, the number of GPUs in all.
    export train_cmd="slurm.pl --gpu 1 --num-threads 4 --mem 4G --requeue true"
    export decode_cmd="slurm.pl --num-threads 2 --mem 4G"
    ;;
  sge)
    export train_cmd="queue.pl --gpu 1 --num-threads 4 --mem 4G --requeue true"
    export decode_cmd="queue.pl --num-threads 2 --mem 4G"
    ;;
  ssh)
    export train_cmd="ssh.pl"
    export decode_cmd="ssh.pl"
    ;;
  *)
    echo "cmd.sh: cmd_backend is local, slurm, sge or ssh, got \"$cmd_backend\"" >&2
    return 1
    ;;
esac
