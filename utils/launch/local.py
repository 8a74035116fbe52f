"""Jobs as processes of this machine, a bounded number at a time."""

import contextlib
import os
import signal
import subprocess
import sys
import time

from launch import gpus, joblog
from launch.command_line import Job, LaunchError, Request, positive_option
from launch.joblog import Outcome
from launch.quoting import shell_words

# Seconds between SIGTERM and SIGKILL when jobs are cancelled: time for a training to write its checkpoint.
GRACE = 30
# Signals within this many seconds are one request: Ctrl-C comes from the terminal and from the calling script.
ONE_REQUEST = 1.0
# The kernel refuses a single argument above 128 KiB.
_LONGEST_ARGUMENT = 100000


def run(request: Request, jobs: "list[Job]") -> "tuple[list[Outcome], bool]":
    """Run the jobs and return `(outcomes, cancelled)`. Outcomes are in the order of the jobs."""
    limit, slots = _concurrency(request, len(jobs))
    return Runner(jobs, limit, slots, positive_option(request, "num_threads") or 1).run()


def _concurrency(request: Request, number: int) -> "tuple[int, list[str] | None]":
    """How many jobs may run at a time, and the GPUs of each of these slots (or None)."""
    limit = positive_option(request, "max_jobs_run")
    if request.options.get("gpu", ["0"])[-1] != "0":
        wanted = positive_option(request, "gpu") or 0
        names = gpus.visible()
        if not names:
            print(f"{request.tool}: warning: no GPU found by nvidia-smi; one job at a time", file=sys.stderr)
            return 1, None
        slots = [",".join(names[i : i + wanted]) for i in range(0, len(names) - wanted + 1, wanted)]
        if not slots:
            raise LaunchError(f"--gpu {wanted}: this machine has only {len(names)}", status=1)
        slots = slots[:limit] if limit else slots
        return len(slots), slots
    if limit is None:
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        # A little more than the cores, rather than a second round with few jobs.
        limit = number if number <= 1.4 * cpus else cpus
    return limit, None


def _bash(command: "list[str]") -> "tuple[str, list[str]]":
    """A command as shell text, and the words that run it."""
    words = shell_words(command)
    text = " ".join(words)
    if len(text) < _LONGEST_ARGUMENT:
        return text, ["bash", "-c", text]
    # `eval` joins its arguments with spaces, so that only each word has to be short enough.
    return text, ["bash", "-c", 'eval "$@"', "bash"] + words


class Runner:
    """Runs jobs as processes of this machine, at most `limit` at a time.

    `slots`, where given, are lent to the jobs, one each: here the GPUs, as CUDA_VISIBLE_DEVICES names them.
    """

    def __init__(self, jobs: "list[Job]", limit: int, slots: "list[str] | None", threads: int) -> None:
        self.waiting = list(reversed(jobs))
        self.order = [job.log for job in jobs]
        self.limit = limit
        self.free_slots = list(slots) if slots else None
        self.threads = threads
        # process id: (job, log descriptor, start time, slot, process)
        self.running = {}  # type: dict[int, tuple[Job, int, float, str | None, subprocess.Popen[bytes]]]
        self.outcomes = {}  # type: dict[str, Outcome]
        self.cancelled = False
        self.cancel_time = 0.0

    def run(self) -> "tuple[list[Outcome], bool]":
        """Run all jobs and return `(outcomes, cancelled)`."""
        old = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)}
        for s in old:
            # SIGHUP is ignored under nohup, which asks for that; SIGINT by any script that puts us in the background.
            if s != signal.SIGHUP or old[s] != signal.SIG_IGN:
                signal.signal(s, self._on_signal)
        try:
            while self.running or (self.waiting and not self.cancelled):
                while self.waiting and len(self.running) < self.limit and not self.cancelled:
                    self._start(self.waiting.pop())
                if self.running:
                    self._reap()
        except OSError:
            # A log can't be written: no job may continue unseen.
            self._on_signal(signal.SIGTERM, None)
            while self.running:
                os.wait4(self.running.popitem()[0], 0)
            raise
        finally:
            signal.alarm(0)
            for s, handler in old.items():
                signal.signal(s, handler)
        return [self.outcomes[log] for log in self.order if log in self.outcomes], self.cancelled

    def _on_signal(self, number: int, frame: object) -> None:
        """First Ctrl-C or TERM: ask all jobs to end; second, or after the grace time: kill them."""
        now = time.monotonic()
        if not self.cancelled:
            self.cancelled = True
            self.cancel_time = now
            kill = False
            signal.alarm(GRACE)
        elif now - self.cancel_time < ONE_REQUEST:
            return
        else:
            kill = True
        for *_, process in list(self.running.values()):
            if kill:
                self.kill(process, signal.SIGKILL)
            else:
                self.ask_to_end(process)

    @staticmethod
    def kill(process: "subprocess.Popen[bytes]", number: int) -> None:
        """Send a signal to a job and its children: it leads a process group of its own."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)

    def ask_to_end(self, process: "subprocess.Popen[bytes]") -> None:
        """Tell a job that it is cancelled and has `GRACE` seconds."""
        self.kill(process, signal.SIGTERM)

    def spawn(self, command: "list[str]", slot: "str | None", descriptor: int) -> "subprocess.Popen[bytes]":
        """Start a command in a session of its own, its output going to `descriptor`."""
        environment = dict(os.environ)
        if slot is not None:
            environment["CUDA_VISIBLE_DEVICES"] = slot
        return subprocess.Popen(
            _bash(command)[1],
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            env=environment,
            start_new_session=True,
        )

    def reason(self, code: int, slot: "str | None") -> str:
        """What else is known of a job that ended with this exit status."""
        return ""

    def _start(self, job: Job) -> None:
        descriptor = joblog.begin(job.log, _bash(job.command)[0])
        slot = self.free_slots.pop(0) if self.free_slots is not None else None
        process = self.spawn(job.command, slot, descriptor)
        # The runner itself waits for all processes; Popen must not.
        process.returncode = 0
        self.running[process.pid] = (job, descriptor, time.time(), slot, process)
        if self.cancelled:
            self.ask_to_end(process)

    def _reap(self) -> None:
        pid, status = os.wait()
        if pid not in self.running:
            return
        job, descriptor, started, slot, _ = self.running.pop(pid)
        if self.free_slots is not None and slot is not None:
            self.free_slots.append(slot)
        if os.WIFSIGNALED(status):
            outcome = Outcome(job, 128 + os.WTERMSIG(status), os.WTERMSIG(status), "")
        else:
            code = os.WEXITSTATUS(status)
            outcome = Outcome(job, code, 0, self.reason(code, slot))
        joblog.end(descriptor, outcome, time.time() - started, self.threads)
        self.outcomes[job.log] = outcome
