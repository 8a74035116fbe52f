"""Jobs that a scheduler runs: submitted, waited for, reported, cancelled.

What differs between schedulers is in slurm and grid_engine.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import namedtuple

from launch import batch_script, joblog
from launch.command_line import Job, LaunchError, Request, positive_option
from launch.job_files import JobFiles
from launch.joblog import Outcome

# What a scheduler says of a task. active: it waits or runs; code, signal: how it ended; reason: why, in words, where
# the scheduler ended it; held: why it will not start by itself.
State = namedtuple("State", "active code signal reason held")

# Only type checkers read what follows `if TYPE_CHECKING:`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Scheduler(Protocol):
        """What differs between schedulers. Tasks are the numbers of an array, or 0; `tasks` None: all.

        `dialect` is for `batch_script.render`; `identifier` finds the number of the job in what the submission prints;
        `is_passing`: whether a submission that failed is worth another try; `find`: the number of a job with this
        script; `states`: those of the tasks that the scheduler knows.
        """

        def submit_command(self, request: Request, jobs: "list[Job]", files: JobFiles) -> "list[str]": ...
        def dialect(self, request: Request, jobs: "list[Job]") -> "dict[str, str]": ...
        def identifier(self, output: str) -> "str | None": ...
        def is_passing(self, errors: str) -> bool: ...
        def find(self, script: str) -> "str | None": ...
        def states(self, identifier: str, wanted: "list[int]") -> "dict[int, State]": ...
        def cancel(self, identifier: str, tasks: "list[int] | None", kill: bool) -> None: ...


# Seconds between looks at the done files and between questions to the scheduler: shortest, longest, growth.
_LOOK = (0.1, 1.0, 1.2)
_ASK = (1.0, 5.0, 1.2)
# A task that has ended may be about to be requeued: the state has to last this long.
_CONFIRM = 3.0
# Silence of the scheduler after which the user is told.
_SILENCE = 60.0
# What a cancelled job gets to end well; signals so close together are one request.
_GRACE = 60.0
_ONE_REQUEST = 1.0
# A submission is tried again after this many seconds.
_AGAIN_AFTER = (1, 5, 10, 20)


class Silent(Exception):
    """The scheduler did not answer; it may later."""


def ask(argv: "list[str]", timeout: int = 30) -> "tuple[int, str, str]":
    """Run a command of the scheduler and return `(exit status, output, errors)`.

    Raises:
        Silent: when it takes too long.
        LaunchError: when there is no such command.
    """
    try:
        # A session of its own: Ctrl-C must not interrupt a submission.
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


def run(scheduler: "Scheduler", request: Request, jobs: "list[Job]") -> "tuple[list[Outcome], bool]":
    """Run the jobs and return `(outcomes, cancelled)`."""
    if not jobs:
        return [], False
    patience = positive_option(request, "patience") or 30
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


def _still_running(
    scheduler: "Scheduler", request: Request, jobs: "list[Job]", files: JobFiles, script: str
) -> "str | None":
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


def _submit(
    scheduler: "Scheduler", request: Request, command: "list[str]", script: str, signals: "_Signals"
) -> "str | None":
    """Submit the script and return the number of the job, or None when interrupted before that."""
    for delay in _AGAIN_AFTER + (0,):
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
        if not delay or not scheduler.is_passing(problem):
            raise LaunchError(f"can't submit: {problem}\n  the command was: {' '.join(command)}", status=1)
        print(f"{request.tool}: {problem}; trying again in {delay} s", file=sys.stderr)
        end = time.monotonic() + delay
        while time.monotonic() < end and not signals.count:
            time.sleep(0.2)
        # The submission may have succeeded and only the answer was lost.
        with contextlib.suppress(Silent):
            identifier = scheduler.find(os.path.abspath(script))
            if identifier:
                return identifier
    return None


class _Signals:
    """Counts requests to stop within a `with` block."""

    count = 0
    last = 0.0

    def __enter__(self) -> "_Signals":
        self.old = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        for number, handler in self.old.items():
            # SIGHUP is ignored under nohup, which asks for that; SIGINT by any script that puts us in the background.
            if number != signal.SIGHUP or handler != signal.SIG_IGN:
                signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self.old.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: object) -> None:
        now = time.monotonic()
        if now - self.last >= _ONE_REQUEST:
            self.count += 1
            self.last = now


class _Pace:
    """When to repeat something whose intervals grow."""

    def __init__(self, shortest: float, longest: float, growth: float) -> None:
        self.interval, self.shortest, self.longest, self.growth = shortest, shortest, longest, growth
        self.next = time.monotonic() + shortest

    def hurry(self) -> None:
        """Begin with the shortest interval again."""
        self.interval = self.shortest
        self.next = min(self.next, time.monotonic() + self.shortest)

    def due(self) -> bool:
        """Whether it is time; if so, the next interval begins."""
        now = time.monotonic()
        if now < self.next:
            return False
        self.next = now + self.interval
        self.interval = min(self.longest, self.interval * self.growth)
        return True


class _Watch:
    """Waits for the tasks of one submission."""

    def __init__(
        self,
        scheduler: "Scheduler",
        request: Request,
        jobs: "list[Job]",
        files: JobFiles,
        identifier: str,
        patience: float,
        signals: _Signals,
    ) -> None:
        self.scheduler, self.request, self.files, self.identifier = scheduler, request, files, identifier
        self.patience, self.signals = patience, signals
        self.order = [job.id or 0 for job in jobs]
        self.waiting = {job.id or 0: job for job in jobs}
        self.outcomes = {}  # type: dict[int, Outcome]
        self.gone = {}  # type: dict[int, float]  # when the scheduler first did not run a task any more
        self.told = set()  # type: set[tuple[int | str, str]]
        self.silent_since = None  # type: float | None

    def run(self) -> "tuple[list[Outcome], bool]":
        """Wait and return `(outcomes, cancelled)`."""
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

    def _results(self) -> "list[Outcome]":
        return [self.outcomes[task] for task in self.order if task in self.outcomes]

    def _look(self) -> None:
        """Collect the exit statuses that the tasks have written."""
        for task, code in self.files.done().items():
            if task in self.waiting and self._log_is_there(task, code):
                job = self.waiting.pop(task)
                self.outcomes[task] = Outcome(job, code, code - 128 if 128 < code < 160 else 0, "")

    def _log_is_there(self, task: int, code: int) -> bool:
        """Whether to report a task now: the log of a failed one may arrive late on a network file system."""
        if code == 0 or joblog.state(self.waiting[task].log) in ("done", "failed"):
            return True
        first_seen = self.gone.setdefault(task, time.monotonic())
        return time.monotonic() - first_seen > self.patience

    def _ask(self) -> None:
        """Ask the scheduler about the tasks that have written no exit status."""
        try:
            states = self.scheduler.states(self.identifier, list(self.waiting))
        except Silent as error:
            self._note_silence(error)
            return
        self.silent_since = None
        now = time.monotonic()
        # A task that ended a moment ago has written its status.
        self._look()
        for task in list(self.waiting):
            state = states.get(task)
            if state is not None and state.active:
                self.gone.pop(task, None)
                if state.held:
                    self._tell(task, f"task {task} of " if task else "", state.held)
                continue
            since = now - self.gone.setdefault(task, now)
            self.files.refresh()
            # Either something killed it, or it has ended by itself and its files may arrive late.
            killed = state is not None and (state.reason or state.signal)
            if since >= (min(_CONFIRM, self.patience) if killed else self.patience):
                self._give_up(task, state)

    def _note_silence(self, error: Silent) -> None:
        now = time.monotonic()
        if self.silent_since is None:
            self.silent_since = now
        if now - self.silent_since >= _SILENCE:
            self._tell("silence", "", f"{error}; the job may still be running, so the launcher keeps waiting")

    def _tell(self, key: "int | str", who: str, text: str) -> None:
        """Warn, once per text."""
        if (key, text) not in self.told:
            self.told.add((key, text))
            print(f"{self.request.tool}: warning: {who}job {self.identifier}: {text}", file=sys.stderr)

    def _give_up(self, task: int, state: "State | None") -> None:
        """Report a task that has written no status: by what the scheduler says, else by its log."""
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
                Outcome(job, 0, 0, "") if logged == "done" else Outcome(job, 1, 0, "" if logged == "failed" else reason)
            )
        if joblog.state(job.log) not in ("done", "failed"):
            with contextlib.suppress(OSError):
                joblog.end_for_scheduler(outcome)
        self.outcomes[task] = outcome

    def _cancel(self) -> bool:
        """Cancel everything that is not done and wait for its end; return True."""
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
