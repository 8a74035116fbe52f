"""Jobs as processes of this machine, a bounded number at a time."""

import contextlib
import os
import signal
import subprocess
import sys
import time

from launch import gpus, joblog
from launch.command_line import LaunchError, positive_option
from launch.joblog import Outcome
from launch.quoting import shell_words

# Seconds between SIGTERM and SIGKILL on cancelling: time for a training to write its checkpoint.
GRACE = 30
# Signals within so many seconds are one request: Ctrl-C reaches us from the terminal and from our script.
ONE_REQUEST = 1.0
# The kernel takes no single argument above 128 KiB.
_LONGEST_ARGUMENT = 100000


def run(request, jobs):
    """Run the jobs; return `(outcomes, cancelled)`. Outcomes stand in the order of the jobs."""
    limit, shares = _concurrency(request, len(jobs))
    threads = positive_option(request, "num_threads", 1)
    return Runner(jobs, limit, shares, threads).run()


def _concurrency(request, number):
    """How many jobs may run at a time, and the GPUs of each of these places (or None)."""
    limit = positive_option(request, "max_jobs_run")
    if request.options.get("gpu", ["0"])[-1] != "0":
        wanted = positive_option(request, "gpu")
        names = gpus.visible()
        if not names:
            print(f"{request.tool}: warning: no GPU found by nvidia-smi; one job at a time", file=sys.stderr)
            return 1, None
        shares = [names[i : i + wanted] for i in range(0, len(names) - wanted + 1, wanted)]
        if not shares:
            raise LaunchError(f"--gpu {wanted}: this machine has only {len(names)}", status=1)
        shares = shares[:limit] if limit else shares
        return len(shares), shares
    if limit is None:
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        # A little slack spares a second round with few jobs.
        limit = number if number <= 1.4 * cpus else cpus
    return limit, None


def _bash(command):
    words = shell_words(command)
    text = " ".join(words)
    if len(text) < _LONGEST_ARGUMENT:
        return text, ["bash", "-c", text]
    # `eval` joins its arguments with spaces, so that only each word has to be short enough.
    return text, ["bash", "-c", 'eval "$@"', "bash"] + words


class Runner:
    """Runs jobs as processes of this machine, at most `limit` at a time.

    `places`, where given, are handed to the jobs, one each: here lists of GPUs.
    """

    def __init__(self, jobs, limit, places, threads):
        self.waiting = list(reversed(jobs))
        self.order = [job.log for job in jobs]
        self.limit = limit
        self.free_places = list(places) if places else None
        self.threads = threads
        self.running = {}  # process id: (job, log descriptor, start time, place, process)
        self.outcomes = {}
        self.cancelled = False
        self.cancel_time = 0.0

    def run(self):
        """Run all; return `(outcomes, cancelled)`."""
        old = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)}
        for s in old:
            # nohup asks for a deaf process; an ignored SIGINT only says that a script put us in the background.
            if s != signal.SIGHUP or old[s] != signal.SIG_IGN:
                signal.signal(s, self._on_signal)
        try:
            while self.running or (self.waiting and not self.cancelled):
                while self.waiting and len(self.running) < self.limit and not self.cancelled:
                    self._start(self.waiting.pop())
                if self.running:
                    self._reap()
        except OSError:
            # A log that can't be written: nothing may go on behind the caller's back.
            self._on_signal(signal.SIGTERM, None)
            while self.running:
                os.wait4(self.running.popitem()[0], 0)
            raise
        finally:
            signal.alarm(0)
            for s, handler in old.items():
                signal.signal(s, handler)
        return [self.outcomes[log] for log in self.order if log in self.outcomes], self.cancelled

    def _on_signal(self, number, frame):
        """First Ctrl-C or TERM: ask all jobs to end; second, or after the grace time: kill them."""
        now = time.monotonic()
        if not self.cancelled:
            self.cancelled = True
            self.cancel_time = now
            stop = None
            signal.alarm(GRACE)
        elif now - self.cancel_time < ONE_REQUEST:
            return
        else:
            stop = signal.SIGKILL
        for *_, process in list(self.running.values()):
            if stop is None:
                self.ask_to_end(process)
            else:
                self.kill(process, stop)

    @staticmethod
    def kill(process, number):
        """Send a signal to a job: it leads a process group of its own, so that its children end with it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)

    def ask_to_end(self, process):
        """Tell a job that it is cancelled and has `GRACE` seconds."""
        self.kill(process, signal.SIGTERM)

    def spawn(self, command, place, descriptor):
        """Start a command in a session of its own, its output going to `descriptor`."""
        environment = dict(os.environ)
        if place is not None:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(place)
        return subprocess.Popen(
            _bash(command)[1],
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            env=environment,
            start_new_session=True,
        )

    def reason(self, code, place):
        """What there is to say of a failed job besides its exit status."""
        return ""

    def _start(self, job):
        descriptor = joblog.begin(job.log, _bash(job.command)[0])
        place = self.free_places.pop(0) if self.free_places is not None else None
        process = self.spawn(job.command, place, descriptor)
        # The runner itself waits for all processes; this one shall not be waited for by its object.
        process.returncode = 0
        self.running[process.pid] = (job, descriptor, time.time(), place, process)
        if self.cancelled:
            self.ask_to_end(process)

    def _reap(self):
        pid, status = os.wait()
        if pid not in self.running:
            return
        job, descriptor, started, place, _ = self.running.pop(pid)
        if place is not None:
            self.free_places.append(place)
        if os.WIFSIGNALED(status):
            outcome = Outcome(job, 128 + os.WTERMSIG(status), os.WTERMSIG(status))
        else:
            code = os.WEXITSTATUS(status)
            outcome = Outcome(job, code, 0, self.reason(code, place))
        joblog.end(descriptor, outcome, time.time() - started, self.threads)
        self.outcomes[job.log] = outcome
