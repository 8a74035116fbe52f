"""Jobs that a scheduler runs: submitted, waited for, reported, cancelled.

What differs among schedulers is in slurm and grid_engine.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import namedtuple

from launch import batch_script, joblog
from launch.command_line import LaunchError, positive_option
from launch.job_files import JobFiles
from launch.joblog import Outcome

# What a scheduler says of a task. active: it waits or runs; code, signal: how it ended; reason: why, in words, where
# the scheduler ended it; held: why it will not start by itself.
State = namedtuple("State", "active code signal reason held")

# Seconds between looks at the done files and between questions to the scheduler: shortest, longest, growth.
_LOOK = (0.1, 1.0, 1.2)
_ASK = (1.0, 5.0, 1.2)
# A state that ends a task may be on its way to a requeue: it has to last so long.
_CONFIRM = 3.0
# Silence of the scheduler that is worth a line.
_SILENCE = 60.0
# What a cancelled job gets to end well, and signals so close together that they are one request.
_GRACE = 60.0
_ONE_REQUEST = 1.0
# A submission is tried again after so many seconds.
_AGAIN_AFTER = (1, 5, 10, 20)


class Silent(Exception):
    """The scheduler did not answer; it may later."""


def ask(argv, timeout=30):
    """Run a command of the scheduler: (exit status, output, errors). Raises `Silent` when it takes too long."""
    try:
        # A session of its own: Ctrl-C is for us, not for a submission half done.
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
            start_new_session=True,
        )
    except OSError as error:
        raise LaunchError(
            f"{argv[0]}: {error.strerror}; are jobs submitted from this machine? cmd.sh chooses the launcher",
            status=1,
        ) from None
    try:
        out, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise Silent(f"{argv[0]}: no answer within {timeout} s") from None
    return process.returncode, out, errors.strip()


def run(scheduler, request, jobs):
    """Run the jobs; return `(outcomes, cancelled)`.

    `scheduler` has `submit_command(request, jobs, files)`, `dialect(request, jobs)` for the script,
    `identifier(output)` of a submission, `is_passing(errors)` whether a failed one is worth another try,
    `find(script)` the number of a job with this script, `states(identifier, wanted)` -> {task: State} of those it
    knows, and `cancel(identifier, tasks, kill)`; tasks None means all.
    """
    if not jobs:
        return [], False
    patience = positive_option(request, "patience", 30)
    files = JobFiles(request)
    command = scheduler.submit_command(request, jobs, files)
    script = batch_script.render(request, jobs, files.state, scheduler.dialect(request, jobs))
    script += "# submitted by: {}\n".format(" ".join(command).replace("\n", " "))
    with _Signals() as signals:
        identifier = _still_running(scheduler, request, jobs, files, script)
        if identifier is None:
            files.begin(jobs)
            files.write_script(script)
            identifier = _submit(scheduler, request, command, files.script, signals)
            if identifier is None:
                return [], True
            files.write_identifier(identifier)
        outcomes, cancelled = _Watch(scheduler, request, jobs, files, identifier, patience, signals).run()
    files.forget()
    return outcomes, cancelled


def _still_running(scheduler, request, jobs, files, script):
    """The number of the same job of an earlier call that was killed, if it is still in the queue."""
    identifier = files.identifier()
    if identifier is None:
        return None
    tasks = [job.id or 0 for job in jobs]
    try:
        states = scheduler.states(identifier, tasks)
    except Silent as error:
        raise LaunchError(f"is job {identifier} of an earlier call still running? {error}", status=1) from None
    if not any(state.active for state in states.values()):
        return None
    if not files.same_script(script):
        raise LaunchError(
            f"{request.log}: job {identifier} of an earlier call still writes it; wait for its end or cancel it",
            status=1,
        )
    print(f"{request.tool}: job {identifier} of an earlier call still runs; waiting for it", file=sys.stderr)
    return identifier


def _submit(scheduler, request, command, script, signals):
    """Submit; return the number, None when interrupted before that."""
    for delay in _AGAIN_AFTER + (None,):
        try:
            status, out, errors = ask(command, timeout=120)
            identifier = scheduler.identifier(out) if status == 0 else None
            problem = errors or out.strip() or f"exit status {status}"
        except Silent as error:
            identifier, problem = None, str(error)
        if identifier:
            return identifier
        if signals.count:
            return None
        if delay is None or not scheduler.is_passing(problem):
            raise LaunchError(f"can't submit: {problem}\n  the command was: {' '.join(command)}", status=1)
        print(f"{request.tool}: {problem}; trying again in {delay} s", file=sys.stderr)
        end = time.monotonic() + delay
        while time.monotonic() < end and not signals.count:
            time.sleep(0.2)
        # Only the answer may have been lost.
        with contextlib.suppress(Silent):
            identifier = scheduler.find(os.path.abspath(script))
            if identifier:
                return identifier
    return None


class _Signals:
    """Counts requests to stop, within a `with` block."""

    def __enter__(self):
        self.count = 0
        self.last = 0.0
        self.old = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        for number, handler in self.old.items():
            # nohup asks for a deaf process; an ignored SIGINT only says that a script put us in the background.
            if number != signal.SIGHUP or handler != signal.SIG_IGN:
                signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *exception):
        for number, handler in self.old.items():
            signal.signal(number, handler)

    def _on_signal(self, number, frame):
        now = time.monotonic()
        if now - self.last >= _ONE_REQUEST:
            self.count += 1
            self.last = now


class _Pace:
    """When to do next what is done ever more rarely."""

    def __init__(self, shortest, longest, growth):
        self.interval, self.shortest, self.longest, self.growth = shortest, shortest, longest, growth
        self.next = time.monotonic() + shortest

    def hurry(self):
        self.interval = self.shortest
        self.next = min(self.next, time.monotonic() + self.shortest)

    def due(self):
        now = time.monotonic()
        if now < self.next:
            return False
        self.next = now + self.interval
        self.interval = min(self.longest, self.interval * self.growth)
        return True


class _Watch:
    """Waits for the tasks of one submission."""

    def __init__(self, scheduler, request, jobs, files, identifier, patience, signals):
        self.scheduler, self.request, self.files, self.identifier = scheduler, request, files, identifier
        self.patience, self.signals = patience, signals
        self.order = [job.id or 0 for job in jobs]
        self.waiting = {job.id or 0: job for job in jobs}
        self.outcomes = {}
        self.gone = {}  # task: when the scheduler was first seen not to run it any more
        self.told = set()
        self.silent_since = None

    def run(self):
        look, question = _Pace(*_LOOK), _Pace(*_ASK)
        while self.waiting:
            if self.signals.count:
                return self._results(), self._cancel()
            if look.due():
                self._look()
            if self.waiting and question.due():
                self._ask()
                if self.gone:
                    question.hurry()
            time.sleep(max(0.0, min(look.next, question.next) - time.monotonic()) if self.waiting else 0)
        return self._results(), False

    def _results(self):
        return [self.outcomes[task] for task in self.order if task in self.outcomes]

    def _look(self):
        """Take up the exit statuses that the tasks have left."""
        for task, code in self.files.done().items():
            if task in self.waiting and self._log_is_there(task, code):
                job = self.waiting.pop(task)
                self.outcomes[task] = Outcome(job, code, code - 128 if 128 < code < 160 else 0)

    def _log_is_there(self, task, code):
        """Whether to report a task now: the log of a failed one may arrive late on a network file system."""
        if code == 0 or joblog.state(self.waiting[task].log) in ("done", "failed"):
            return True
        first_seen = self.gone.setdefault(task, time.monotonic())
        return time.monotonic() - first_seen > self.patience

    def _ask(self):
        """Ask what became of the tasks that have left nothing."""
        try:
            states = self.scheduler.states(self.identifier, list(self.waiting))
        except Silent as error:
            self._note_silence(error)
            return
        self.silent_since = None
        now = time.monotonic()
        # A task that ended a moment ago has left its status.
        self._look()
        for task in list(self.waiting):
            state = states.get(task)
            if state is not None and state.active:
                self.gone.pop(task, None)
                if state.held:
                    self._tell(task, f"task {task} of " if task else "", state.held)
                continue
            since = now - self.gone.setdefault(task, now)
            self.files.look_anew()
            # Something killed it, or it has ended by itself and its files may be on their way.
            killed = state is not None and (state.reason or state.signal)
            if since >= (min(_CONFIRM, self.patience) if killed else self.patience):
                self._give_up(task, state)

    def _note_silence(self, error):
        now = time.monotonic()
        if self.silent_since is None:
            self.silent_since = now
        if now - self.silent_since >= _SILENCE:
            self._tell("silence", "", f"{error}; the job may go on, so the waiting does")

    def _tell(self, key, who, text):
        if (key, text) not in self.told:
            self.told.add((key, text))
            print(f"{self.request.tool}: warning: {who}job {self.identifier}: {text}", file=sys.stderr)

    def _give_up(self, task, state):
        """Report a task that has left no status itself: by what the scheduler says, else by its log."""
        job = self.waiting.pop(task)
        if state is not None:
            outcome = Outcome(job, state.code, state.signal, state.reason)
            if state.held:
                with contextlib.suppress(Silent):
                    self.scheduler.cancel(self.identifier, [task], True)
        else:
            logged = joblog.state(job.log)
            reason = f"lost: the scheduler does not know job {self.identifier} any more, and it has left no exit status"
            outcome = (
                Outcome(job, 0, 0) if logged == "done" else Outcome(job, 1, 0, "" if logged == "failed" else reason)
            )
        if joblog.state(job.log) not in ("done", "failed"):
            with contextlib.suppress(OSError):
                joblog.end_for_scheduler(outcome)
        self.outcomes[task] = outcome

    def _cancel(self):
        """Cancel all that is not done and wait for its end; return True."""
        end = time.monotonic() + _GRACE
        requests = self.signals.count
        asked = False
        pace = _Pace(*_LOOK)
        while time.monotonic() < end:
            try:
                if not asked or self.signals.count > requests:
                    kill = self.signals.count > requests
                    self.scheduler.cancel(self.identifier, None, kill)
                    asked = True
                    if kill:
                        return True
                if pace.due():
                    states = self.scheduler.states(self.identifier, list(self.waiting))
                    if not any(state.active for state in states.values()):
                        return True
            except Silent:
                pass
            time.sleep(0.1)
        if not asked:
            self._tell("cancel", "", "could not cancel it: the scheduler does not answer")
        return True
