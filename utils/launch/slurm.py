"""The Slurm backend: arrays by sbatch, one squeue for all tasks, sacct for what squeue has forgotten."""

import getpass
import re

from launch import conf, scheduler
from launch.batch_script import AGAIN
from launch.command_line import Job, LaunchError, Request, flag, positive_option
from launch.job_files import JobFiles
from launch.joblog import Outcome
from launch.quoting import fill, single_quoted
from launch.scheduler import Silent, State, ask

BUILT_IN = """
command sbatch --export=PATH --ntasks-per-node=1
option name=* --job-name $0
option time=* --time $0
option mem=* --mem-per-cpu $0
option mem=0
option num_threads=* --cpus-per-task $0 --ntasks-per-node=1
option num_threads=1 --cpus-per-task 1 --ntasks-per-node=1
option num_nodes=* --nodes $0
default gpu=0
option gpu=0 -p shared
option gpu=* -p gpu --gres=gpu:$0 --time 4:0:0
"""

# Seconds before the time limit, and before a preemption, at which the job is asked to save its state.
_WARNING = 60

# States in which a job has ended; in all others it waits, runs or is put back into the queue.
_WORDS = {
    "BOOT_FAIL": "the node did not start",
    "CANCELLED": "cancelled",
    "COMPLETED": "",
    "DEADLINE": "the deadline is over",
    "FAILED": "",
    "NODE_FAIL": "the node was lost",
    "OUT_OF_MEMORY": "more memory than asked for (--mem)",
    "PREEMPTED": "preempted",
    "REVOKED": "taken back by the federation",
    "TIMEOUT": "the time limit is over (--time)",
}
# Waiting jobs that will not start by themselves, by state or reason.
_HELD = ("REQUEUE_HOLD", "SPECIAL_EXIT")
_STUCK = re.compile("[Hh]eld|NeverSatisfied|BadConstraints|Partition|ReqNodeNotAvail|Invalid")
# The controller did not answer, or is busy.
_PASSING = re.compile(r"timed? ?out|unable to contact|connection|temporarily|try(ing)? again|no answer", re.IGNORECASE)

_DIALECT = {
    "RESTARTS": "${SLURM_RESTART_COUNT:-0}",
    # A process group of its own: the signal reaches the command's children too. Slurm finds processes by the job.
    "START": '  set -m\n  "$@" &\n  _job_pid=$!\n  set +m',
    "PASS": '  kill -s "$1" -- "-$_job_pid" 2>/dev/null',
    "RUN": "_job_watch _job_run\nexit",
    "AGAIN": "",
    "EXIT": "exit $_job_status",
}
# With --requeue.
_REQUEUE = fill(
    """\
  if [ $_job_status -eq @STATUS@ ] && scontrol requeue "$SLURM_JOB_ID"; then
    echo "# Stopped at $(_job_date), state saved, to be run again"
    exit @STATUS@
  fi""",
    {"STATUS": str(AGAIN)},
)
# One process per task, all in one log. A process that has saved its state ends with 0 for srun, which would otherwise
# kill those that are still writing; a file notes it.
_RUN_STEP = """\
_job_rank() {
  _job_in_step=1
  if [ "${SLURM_NTASKS:-1}" -gt 1 ]; then
    # As torchrun has it.
    export RANK=$SLURM_PROCID WORLD_SIZE=$SLURM_NTASKS LOCAL_RANK=$SLURM_LOCALID
    export LOCAL_WORLD_SIZE=${SLURM_NTASKS_PER_NODE:-1}
  fi
  _job_watch _job_run
  _job_status=$?
  @MARK_RANK@
  return $_job_status
}
export -f _job_run _job_pass _job_watch _job_rank
export _job_command _job_files _job_task
# This node is the first of the job: its processes meet here.
if [ -z "${MASTER_ADDR-}" ]; then
  MASTER_ADDR=$(scontrol show node "$SLURMD_NODENAME" | sed -n 's/.*NodeAddr=\\([^ ]*\\).*/\\1/p')
  export MASTER_ADDR=${MASTER_ADDR:-$(hostname)}
fi
if [ -z "${MASTER_PORT-}" ]; then
  MASTER_PORT=$(python3 -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')
  export MASTER_PORT=${MASTER_PORT:-$((20000 + SLURM_JOB_ID % 10000))}
fi
[ -z "${SLURM_CPUS_PER_TASK-}" ] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
rm -f "$_job_files/again.$_job_task".*
_job_watch srun --export=ALL --kill-on-bad-exit=1 @SRUN_OPTIONS@ bash -c _job_rank
_job_status=$?
# After SIGTERM srun does not wait for processes on nodes that are lost, and may end with 0.
[ -z "$_job_terminated" ] || [ $_job_status -ne 0 ] || _job_status=143
for _job_file in "$_job_files/again.$_job_task".*; do
  [ ! -e "$_job_file" ] || [ $_job_status -ne 0 ] || _job_status=@STATUS@
done
exit $_job_status"""
_MARK_RANK = '[ $_job_status -ne @STATUS@ ] || { : >"$_job_files/again.$_job_task.$SLURM_PROCID"; _job_status=0; }'


def run(request: Request, jobs: "list[Job]") -> "tuple[list[Outcome], bool]":
    """Run the jobs and return `(outcomes, cancelled)`."""
    return scheduler.run(_Slurm(request), request, jobs)


def _array(tasks: "list[int]") -> str:
    """Task numbers as sbatch takes them: 1-3,7."""
    ranges = []  # type: list[list[int]]
    for task in tasks:
        if ranges and task == ranges[-1][1] + 1:
            ranges[-1][1] = task
        else:
            ranges.append([task, task])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)


class _Slurm:
    """See `scheduler.Scheduler`."""

    def __init__(self, request: Request) -> None:
        self.conf = conf.load(request, "conf/slurm.conf", BUILT_IN)
        self.requeue = flag(request, "requeue")
        self.nodes = positive_option(request, "num_nodes")
        skip = {"max_jobs_run"} if "num_nodes" in self.conf.rules else {"max_jobs_run", "num_nodes"}
        arguments = self.conf.arguments(request, skip)
        # ARGUMENTS that begin with the word srun are for the step, such as the flags of a container.
        self.srun_words = [word for words in arguments if words[:1] == ["srun"] for word in words[1:]]
        self.sbatch_words = [word for words in arguments if words[:1] != ["srun"] for word in words]
        self.has_step = self.nodes is not None or bool(self.srun_words)
        self.tasks_per_node = 1
        if self.nodes is not None:
            # The value may also name a kind of GPU, as in a100:4.
            number = (self.conf.value(request, "gpu") or "0").rsplit(":", 1)[-1]
            self.tasks_per_node = max(1, int(number)) if number.isdigit() else 1

    def submit_command(self, request: Request, jobs: "list[Job]", files: JobFiles) -> "list[str]":
        words = self.conf.command_words() + self.sbatch_words
        words += [word for word in request.native if word != "-V"]
        words += ["--output", files.output, "--open-mode=append"]
        if self.nodes is not None:
            words += ["--nodes", str(self.nodes), f"--ntasks-per-node={self.tasks_per_node}"]
        if self.requeue:
            words += ["--requeue", f"--signal=B:USR1@{_WARNING}"]
        if len(jobs) > 1:
            limit = positive_option(request, "max_jobs_run")
            words += ["--array", _array([job.id for job in jobs]) + (f"%{limit}" if limit else "")]
        return words + [files.script]

    def dialect(self, request: Request, jobs: "list[Job]") -> "dict[str, str]":
        texts = dict(_DIALECT)
        texts["TASK"] = "$SLURM_ARRAY_TASK_ID" if len(jobs) > 1 else str(jobs[0].id or "")
        if self.has_step:
            options = ["--nodes", str(self.nodes or 1), f"--ntasks-per-node={self.tasks_per_node}"] + self.srun_words
            values = {"SRUN_OPTIONS": " ".join(single_quoted(word) for word in options), "STATUS": str(AGAIN)}
            values["MARK_RANK"] = fill(_MARK_RANK, values) if self.requeue else ":"
            texts["RUN"] = fill(_RUN_STEP, values)
            # Slurm itself sends SIGTERM to the processes; srun would kill them if it got one.
            texts["PASS"] = '  [ -n "${_job_in_step-}" ] || [ "$1" = USR1 ] || return 0\n' + texts["PASS"]
        if self.requeue:
            texts["AGAIN"] = _REQUEUE
        return texts

    @staticmethod
    def identifier(output: str) -> "str | None":
        match = re.search(r"Submitted batch job (\d+)|^(\d+)(?:;|$)", output, re.MULTILINE)
        return (match.group(1) or match.group(2)) if match else None

    @staticmethod
    def is_passing(errors: str) -> bool:
        return bool(_PASSING.search(errors))

    @staticmethod
    def find(script: str) -> "str | None":
        status, out, _ = ask(["squeue", "-h", "-u", getpass.getuser(), "-o", "%F %o"])
        found = [line.split(None, 1)[0] for line in out.splitlines() if line.split(None, 1)[1:] == [script]]
        return found[-1] if found and status == 0 else None

    @staticmethod
    def states(identifier: str, wanted: "list[int]") -> "dict[int, State]":
        fields = "ArrayTaskID:20,State:30,exit_code:20,Reason:60"
        status, out, errors = ask(["squeue", "-h", "-r", "-t", "all", "-j", identifier, "-O", fields])
        if status != 0 and "nvalid job id" not in errors:
            raise Silent(f"squeue: {errors or 'exit status ' + str(status)}")
        found = {}
        for line in out.splitlines():
            words = line.split(None, 3)
            if len(words) >= 3:
                reason = words[3].strip() if len(words) > 3 else ""
                found[_task(words[0])] = _state(words[1], _wait_status(words[2]), reason)
        if any(task not in found for task in wanted):
            for task, state in _history(identifier).items():
                found.setdefault(task, state)
        return found

    @staticmethod
    def cancel(identifier: str, tasks: "list[int] | None", kill: bool) -> None:
        names = [identifier] if tasks is None else [f"{identifier}_{task}" if task else identifier for task in tasks]
        status, _, errors = ask(["scancel"] + (["--signal=KILL", "--full"] if kill else []) + names)
        if status != 0 and "nvalid job id" not in errors:
            raise Silent(f"scancel: {errors}")


def _task(text: str) -> int:
    return int(text) if text.isdigit() else 0


def _wait_status(text: str) -> "tuple[int, int]":
    """`(exit status, signal)` from what squeue prints, 1792 or 7:0."""
    if ":" in text:
        code, number = text.split(":", 1)
        return int(code), int(number)
    value = int(text) if text.isdigit() else 0
    return value >> 8 & 255, value & 127


def _state(name: str, code_and_signal: "tuple[int, int]", reason: str) -> State:
    name = name.split("+")[0]
    if name not in _WORDS:
        stuck = name in _HELD or (name == "PENDING" and _STUCK.search(reason))
        return State(True, 0, 0, "", f"does not start by itself: {reason}" if stuck else "")
    code, number = code_and_signal
    if name == "COMPLETED":
        return State(False, 0, 0, "", "")
    if name == "FAILED":
        return State(False, code or 128 + number if code or number else 1, number, "", "")
    # A job that is lost or timed out may have an exit status of 0.
    return State(False, code or 1, 0, f"{name}: {_WORDS[name]}", "")


def _history(identifier: str) -> "dict[int, State]":
    """States of tasks from the accounting, {} where there is none."""
    fields = "JobID,State,ExitCode"
    try:
        status, out, _ = ask(["sacct", "-n", "-P", "-X", "-j", identifier, "-o", fields])
    except LaunchError:
        return {}
    found = {}
    for line in out.splitlines() if status == 0 else []:
        words = line.split("|")
        match = re.match(r"\d+(?:_(\d+))?$", words[0])
        if match and len(words) == 3:
            found[_task(match.group(1) or "")] = _state(words[1].split()[0], _wait_status(words[2]), "")
    return found
