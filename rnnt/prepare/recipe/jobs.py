"""Commands and cluster jobs whose end is waited for: a signal is passed on to them, and their log is shown."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import BinaryIO

INTERRUPTED = 130
SHOW_SECONDS = 0.3


class Relay:
    """Passes the signals that end a program on to another one. Made by `relay_signals`.

    Attributes:
        process: who gets them; None: nobody yet.
        interrupted: whether any came.
    """

    def __init__(self, number: signal.Signals) -> None:
        self.process: subprocess.Popen | None = None
        self.interrupted = False
        self._number = number

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.interrupted = True
        if self.process and self.process.poll() is None:
            self.process.send_signal(self._number)


@contextlib.contextmanager
def relay_signals(number: signal.Signals) -> Iterator[Relay]:
    """Yield a `Relay`, which sends `number` for every SIGINT, SIGTERM or SIGHUP that is not ignored."""
    relay = Relay(number)
    kinds = [k for k in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(k) != signal.SIG_IGN]
    old = {kind: signal.signal(kind, relay) for kind in kinds}
    try:
        yield relay
    finally:
        for kind, handler in old.items():
            signal.signal(kind, handler)


def _leave_terminal() -> None:
    """In the child: Ctrl-C reaches it through its parent alone, once, also where a shell put that in the background."""
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run_command(command: Sequence[str]) -> tuple[int, bool]:
    """Run a command, which is interrupted (SIGINT) when this program is asked to end.

    Returns:
        Its exit status (128 + signal where one ended it), and whether there was an interruption.
    """
    with relay_signals(signal.SIGINT) as relay:
        relay.process = subprocess.Popen(command, preexec_fn=_leave_terminal)
        status = relay.process.wait()
    return status if status >= 0 else 128 - status, relay.interrupted


def follow(log: Path, command: Sequence[str]) -> tuple[int, bool]:
    """Run a launcher whose job writes `log`, and show the log as it grows.

    Args:
        log: it is removed first, unless the job of a launcher that was killed may still write it.
        command: the launcher and its arguments; it is asked to end (SIGTERM) when this program is.

    Returns:
        The exit status of the launcher, and whether there was an interruption.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    # Where the launcher keeps its state of a log exp/log/a.log: exp/q/a.state.
    if not (log.parents[1] / "q" / f"{log.stem}.state" / "id").exists():
        log.unlink(missing_ok=True)
    shown = _Shown(log)
    with relay_signals(signal.SIGTERM) as relay:
        relay.process = subprocess.Popen(command, preexec_fn=_leave_terminal)
        while relay.process.poll() is None:
            shown.update()
            time.sleep(SHOW_SECONDS)
        shown.update()
    shown.close()
    status = relay.process.returncode
    return status if status >= 0 else 128 - status, relay.interrupted


class _Shown:
    """What of a log has been shown; it may be replaced or begun again while it is read."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._file: BinaryIO | None = None  # open, so that another file can't have the same number

    def update(self) -> None:
        """Show what is new."""
        try:
            status = self._log.stat()
            if self._file and os.fstat(self._file.fileno()).st_ino != status.st_ino:
                self._show(self._file.read())
                self.close()
            if self._file is None:
                self._file = open(self._log, "rb")  # noqa: SIM115
            if status.st_size < self._file.tell():
                self._file.seek(0)
        except OSError:  # not there yet
            return
        self._show(self._file.read())

    def close(self) -> None:
        if self._file:
            self._file.close()
        self._file = None

    @staticmethod
    def _show(data: bytes) -> None:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


# The range variable of arrays of jobs. Launchers replace it wherever it stands, and no path holds it by chance.
JOB_NUMBER = "RNNT_JOB_NUMBER"


def threads_per_job(launcher: str, num_jobs: int, cores: int) -> int:
    """Threads of each of several jobs: those of one machine divide its cores; 0 elsewhere, where the launcher says."""
    return max(cores // num_jobs, 1) if launcher.startswith("run.pl") else 0
