"""The Grid Engine backend: arrays by qsub, one qstat for all tasks, qacct for those that have left the queue."""

import getpass
import os
import re

from launch import conf, scheduler
from launch.batch_script import AGAIN
from launch.command_line import Job, LaunchError, Request, flag, positive_option
from launch.job_files import JobFiles
from launch.joblog import Outcome
from launch.quoting import fill
from launch.scheduler import Silent, State, ask

BUILT_IN = """
command qsub -v PATH -cwd -S /bin/bash -j y -l arch=*64*
option name=* -N $0
option time=* -l h_rt=$0
option mem=* -l mem_free=$0,ram_free=$0
option mem=0
option num_threads=* -pe smp $0
option num_threads=1
option max_jobs_run=* -tc $0
default gpu=0
option gpu=0
option gpu=* -l gpu=$0 -q '*.q'
"""

_SUBMITTED = re.compile(r"Your job(?:-array)? (\d+)")
_PASSING = re.compile(
    r"unable to (contact|send)|commlib|timed? ?out|got no response|no answer|try again", re.IGNORECASE
)

_DIALECT = {
    "RESTARTS": "${RESTARTED:-0}",
    # Grid Engine may know the job only as one process group: the command stays in that of the script.
    "START": '  "$@" &\n  _job_pid=$!',
    "PASS": """\
  trap '' "$1"
  kill -s "$1" 0
  trap "_job_pass $1" "$1\"""",
    "RUN": "_job_watch _job_run\nexit",
    "AGAIN": "",
    # 99 and 100 have a meaning for Grid Engine: run again, error state.
    "EXIT": "[ $_job_status -lt 99 ] || [ $_job_status -gt 100 ] || exit 1; exit $_job_status",
}
_RUN_AGAIN = fill(
    """\
  if [ $_job_status -eq @STATUS@ ]; then
    echo "# Stopped at $(_job_date), state saved, to be run again"
    exit @STATUS@
  fi""",
    {"STATUS": str(AGAIN)},
)


def run(request: Request, jobs: "list[Job]") -> "tuple[list[Outcome], bool]":
    """Run the jobs and return `(outcomes, cancelled)`."""
    return scheduler.run(_GridEngine(request, jobs), request, jobs)


class _GridEngine:
    """See `scheduler.Scheduler`."""

    def __init__(self, request: Request, jobs: "list[Job]") -> None:
        if (positive_option(request, "num_nodes") or 1) > 1:
            raise LaunchError("--num-nodes: queue.pl runs a job on one machine; see docs/clusters.md", status=1)
        self.conf = conf.load(request, "conf/queue.conf", BUILT_IN)
        self.requeue = flag(request, "requeue")
        self.array = len(jobs) > 1
        # qsub takes only a range: other sets of tasks are numbered from 1, and the script knows which they are.
        tasks = [job.id or 0 for job in jobs]
        self.renumbered = self.array and tasks[-1] - tasks[0] + 1 != len(tasks)
        self.tasks = dict(enumerate(tasks, 1)) if self.renumbered else {t: t for t in tasks}

    def submit_command(self, request: Request, jobs: "list[Job]", files: JobFiles) -> "list[str]":
        words = self.conf.command_words()
        name = os.path.basename(files.script)
        if not name[0].isalpha():
            words += ["-N", "job-" + name]
        skip = {"num_nodes"} if self.array else {"num_nodes", "max_jobs_run"}
        for arguments in self.conf.arguments(request, skip):
            words += arguments
        words += request.native + ["-o", files.output]
        if self.requeue:
            words += ["-r", "y", "-notify"]
        if self.array:
            words += ["-t", f"{min(self.tasks)}-{max(self.tasks)}"]
        return words + [files.script]

    def dialect(self, request: Request, jobs: "list[Job]") -> "dict[str, str]":
        texts = dict(_DIALECT)
        texts["TASK"] = "$SGE_TASK_ID" if self.array else str(jobs[0].id or "")
        if self.renumbered:
            values = {"TASKS": " ".join(str(task) for task in self.tasks.values())}
            texts["TASK"] = fill("$(set -- @TASKS@; shift $((SGE_TASK_ID - 1)); echo $1)", values)
        if self.requeue:
            texts["AGAIN"] = _RUN_AGAIN
        return texts

    @staticmethod
    def identifier(output: str) -> "str | None":
        match = _SUBMITTED.search(output)
        return match.group(1) if match else None

    @staticmethod
    def is_passing(errors: str) -> bool:
        return bool(_PASSING.search(errors))

    @staticmethod
    def find(script: str) -> "str | None":
        # qstat does not show the script; a qsub that got no answer has submitted nothing.
        return None

    def states(self, identifier: str, wanted: "list[int]") -> "dict[int, State]":
        status, out, errors = ask(["qstat", "-g", "d", "-u", getpass.getuser()])
        if status != 0:
            raise Silent(f"qstat: {errors or 'exit status ' + str(status)}")
        found = {}  # type: dict[int, State]
        for line in out.splitlines():
            words = line.split()
            # The number of the job, priority, name, user, state, ..., slots and, in an array, the task.
            if len(words) > 7 and words[0] == identifier:
                task = self.tasks.get(int(words[-1]), -1) if self.array and words[-1].isdigit() else 0
                found[task] = self._listed(identifier, words[4])
        if not self.array and 0 in found:
            found = dict.fromkeys(wanted, found[0])
        if any(task not in found for task in wanted):
            for task, state in self._history(identifier, wanted).items():
                found.setdefault(task, state)
        return found

    @staticmethod
    def _listed(identifier: str, letters: str) -> State:
        if "E" not in letters:
            return State(True, 0, 0, "", "")
        _, out, _ = ask(["qstat", "-j", identifier])
        match = re.search(r"error reason.*?:\s+(.*)", out)
        reason = f"error state {letters}: {match.group(1).strip() if match else 'qstat -j says why'}"
        return State(False, 1, 0, reason, reason)

    def _history(self, identifier: str, wanted: "list[int]") -> "dict[int, State]":
        """States of tasks that have left the queue; the accounting may be some seconds late."""
        status, out, _ = ask(["qacct", "-j", identifier])
        found = {}
        for record in re.split(r"^=+$", out, flags=re.MULTILINE) if status == 0 else []:
            fields = dict(re.findall(r"^(\w+) +(.*?) *$", record, re.MULTILINE))
            if "exit_status" in fields:
                number = fields.get("taskid", "")
                tasks = [self.tasks.get(int(number), -1)] if self.array and number.isdigit() else wanted
                for task in tasks:
                    # A job that was run again has several records, the last of which counts.
                    found[task] = _ended(int(fields["exit_status"].split()[0]), fields.get("failed", "0"))
        return found

    def cancel(self, identifier: str, tasks: "list[int] | None", kill: bool) -> None:
        numbers = [0]  # 0: all of the job
        if tasks is not None and self.array:
            numbers = [number for number, task in self.tasks.items() if task in tasks]
        for number in numbers:
            words = ["qdel"] + (["-f"] if kill else []) + [identifier] + (["-t", str(number)] if number else [])
            status, out, errors = ask(words)
            if status != 0 and "does not exist" not in out + errors and "denied" not in out + errors:
                raise Silent(f"qdel: {errors or out.strip()}")


def _ended(code: int, failed: str) -> State:
    """The state in a record of the accounting: exit status and what Grid Engine calls `failed`."""
    number, _, text = failed.partition(":")
    signal = code - 128 if 128 < code < 160 else 0
    # 100: the job was ended by a signal, perhaps of qdel; others say what Grid Engine did, such as a limit of run time.
    reason = "" if number.strip() in ("0", "100") else f"ended by Grid Engine: {text.strip() or number.strip()}"
    return State(False, code or (1 if reason else 0), 0 if reason else signal, reason, "")
