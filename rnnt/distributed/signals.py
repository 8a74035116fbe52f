"""Signals that ask a run to end: it writes a checkpoint and can be started again.

Schedulers send SIGTERM or SIGUSR1 before they take a machine away; a user presses Ctrl-C. Free of torch, so that the
signals are caught from the first moment on.
"""

from __future__ import annotations

import atexit
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

RUN_AGAIN = 99  # exit status: Grid Engine puts such a job back into its queue, a Slurm job script can do so
INTERRUPTED = 130  # exit status after Ctrl-C, as in shells: no scheduler starts that run again


class Interrupted(Exception):
    """The run has ended itself because of signal `number`; its checkpoint is safe."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.status = exit_status(number)


def exit_status(number: int) -> int:
    """The status with which a program ends after signal `number`."""
    return INTERRUPTED if number == signal.SIGINT else RUN_AGAIN


def ignore_signals() -> None:
    """For a process whose work is done: what a scheduler still sends must not change its status."""
    for number in Interruption.SIGNALS:
        signal.signal(number, signal.SIG_IGN)


class Interruption:
    """Within `with Interruption() as interruption:`, a signal is noted in `interruption.number` and ends nothing.

    A second Ctrl-C, a second or more after the first, interrupts at once. Other signals may come any number of times:
    schedulers and parents both send them.

    Args:
        pass_on: called with the number of each signal, so that a parent can send it to its children.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)

    def __init__(self, pass_on: Callable[[int], object] | None = None) -> None:
        self.number = 0
        self.pass_on = pass_on
        self._noted = 0.0
        self._before: dict[int, Any] = {}  # the handlers that were there

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            self._before = {number: signal.signal(number, self._note) for number in self.SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in self._before.items():
            # A process that is leaving is not ended by what a scheduler sends once more: its status would be lost.
            leaving = self.number and kind in (Interrupted, SystemExit)
            signal.signal(number, signal.SIG_IGN if leaving else handler)
        if self._before:
            # Now, so that it comes before all else that is done at exit, which takes a moment with torch.
            atexit.register(ignore_signals)
        self._before = {}

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.pass_on is not None:
            self.pass_on(number)
        if not self.number:
            self.number, self._noted = int(number), time.monotonic()
        elif number == self.number == signal.SIGINT and time.monotonic() - self._noted > 1:
            raise KeyboardInterrupt
