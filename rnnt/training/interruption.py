"""Signals that ask a run to end: it saves where it stands and can be started again.

Schedulers send SIGTERM or SIGUSR1 before they take a machine away, a user presses Ctrl-C. Free of torch, so that the
signals are caught from the first moment on.
"""

import signal
import threading
import time

RUN_AGAIN = 99  # exit status: Grid Engine puts such a job back into its queue, a Slurm job script can do so
INTERRUPTED = 130  # exit status after Ctrl-C, as shells have it: nobody starts that run again


class Interrupted(Exception):
    """The run has ended itself because of signal `number`; its checkpoint is safe."""

    def __init__(self, number):
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.status = exit_status(number)


def exit_status(number):
    """The status with which a program ends after signal `number`."""
    return INTERRUPTED if number == signal.SIGINT else RUN_AGAIN


class Interruption:
    """Within `with Interruption() as interruption:`, a signal is noted in `interruption.number` and ends nothing.

    A second Ctrl-C, a second or more after the first, interrupts at once. Other signals may come any number of times:
    schedulers and parents both send them.

    Args:
      passed_on: function that is called with the number of each signal, as a parent does for its children.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)

    def __init__(self, passed_on=None):
        self.number = 0
        self.passed_on = passed_on
        self._noted = 0.0

    def __enter__(self):
        self._before = {}
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            self._before = {number: signal.signal(number, self._note) for number in self.SIGNALS}
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number, _frame):
        if self.passed_on is not None:
            self.passed_on(number)
        if not self.number:
            self.number, self._noted = int(number), time.monotonic()
        elif number == self.number == signal.SIGINT and time.monotonic() - self._noted > 1:
            raise KeyboardInterrupt
