"""The log file of a job: its first and last lines, and what they tell. Tools grep these lines: keep their form."""

import os
import re
import signal
import time
from collections import namedtuple

# code: exit status, 128 + signal where a signal ended the job; signal: its number or 0; reason: the scheduler's, in
# words
Outcome = namedtuple("Outcome", "job code signal reason")

# The last line of run.pl and ssh.pl, and that of queue.pl and slurm.pl.
_ENDED = re.compile(
    rb"^# (?:Ended \(code (\d+(?:; signal \d+)?)\) at |Finished at .* with status (\d+)|(Started) at )", re.MULTILINE
)


def date() -> str:
    """Now, as `date` prints it."""
    return time.strftime("%a %b %e %H:%M:%S %Z %Y")


def begin(path: str, shell_text: str) -> int:
    """Start a log and return its descriptor, open for appending. Folders are made, an old log is replaced."""
    folder = os.path.dirname(path)
    if folder:
        os.makedirs(folder, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
    head = "# {}\n# Started at {}\n#\n".format(shell_text.replace("\n", "\n# "), date())
    os.write(descriptor, os.fsencode(head))
    return descriptor


def end(descriptor: int, outcome: Outcome, seconds: float, threads: int) -> None:
    """Write the last lines and close the log."""
    status = f"code {outcome.code}; signal {outcome.signal}" if outcome.signal else f"code {outcome.code}"
    text = f"# Accounting: time={seconds:.0f} threads={threads}\n"
    text += f"# Ended ({status}) at {date()}, elapsed time {seconds:.0f} seconds\n"
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def end_for_scheduler(outcome: Outcome) -> None:
    """Write the last line for a job that could not write its own."""
    reason = f" ({outcome.reason})" if outcome.reason else ""
    with open(outcome.job.log, "ab") as file:
        file.write(f"\n# Finished at {date()} with status {outcome.code}{reason}\n".encode())


def _tail(path: str, size: int) -> bytes:
    """The last `size` bytes of a file, b"" where it can't be read."""
    try:
        with open(path, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - size))
            return file.read()
    except OSError:
        return b""


def state(path: str) -> str:
    """`absent`, `running` (no last line: still running or cut short), `done` or `failed`, by the log of a job."""
    if not os.path.exists(path):
        return "absent"
    ends = _ENDED.findall(_tail(path, 4096))
    if not ends or ends[-1][2]:
        return "running"
    return "done" if b"0" in ends[-1] else "failed"


def last_lines(path: str, count: int) -> "list[str]":
    """The last lines that the job itself wrote; of a progress bar, its last state."""
    text = _tail(path, 16384).decode("utf-8", "replace").replace("\r\n", "\n")
    lines = [line.rstrip().rsplit("\r", 1)[-1] for line in text.split("\n")]
    return [line for line in lines if line and not line.startswith("# ") and line != "#"][-count:]


def describe(outcome: Outcome) -> str:
    """How a job ended, in words."""
    if outcome.reason:
        return outcome.reason
    if outcome.signal:
        try:
            name = signal.Signals(outcome.signal).name
        except ValueError:
            name = str(outcome.signal)
        hint = ": out of memory?" if outcome.signal == signal.SIGKILL else ""
        return f"killed by signal {name}{hint}"
    return f"exit status {outcome.code}"
