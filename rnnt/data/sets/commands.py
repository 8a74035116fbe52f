"""Runs a command and keeps what it writes. Whether the user allows that, the caller has asked."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import IO

from rnnt.errors import UserError

BLOCK = 1 << 20  # bytes


def run_command(command: str, output: IO[bytes], name: str, seconds: float | None = None) -> None:
    """Run `command` in bash and write its standard output to `output`.

    Args:
        command: a pipeline fails where any part of it does.
        output: open for writing.
        name: what messages begin with.
        seconds: in which it must end; None: it may take any time.

    Raises:
        UserError: it ended with another status than 0, or not in time.
        OSError: `output` can't be written.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    with tempfile.TemporaryFile() as said:
        words = ["bash", "-c", f"set -o pipefail; {command}"]
        # In a session of its own, all that it started can be ended with it.
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, start_new_session=True
        )
        try:
            assert process.stdout is not None
            for block in _blocks(process.stdout.fileno(), deadline):
                output.write(block)
            status = process.wait(None if deadline is None else max(deadline - time.monotonic(), 0.1))
        except (TimeoutError, subprocess.TimeoutExpired):
            raise UserError(f"{name}: the command has not ended after {seconds:g} s; raise --shard-timeout") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        if status:
            said.seek(0)
            words_said = " ".join(said.read().decode("utf-8", "replace").split())[-300:]
            raise UserError(
                f"{name}: the command ended with status {status}: {words_said or 'it said nothing'}; try it in a shell"
            )


def _blocks(descriptor: int, deadline: float | None) -> Iterator[bytes]:
    """What comes out of a pipe; TimeoutError where it is open after the deadline."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while True:
        if deadline is not None and not poll.poll(1000 * max(deadline - time.monotonic(), 0)):
            raise TimeoutError
        block = os.read(descriptor, BLOCK)
        if not block:
            return
        yield block
