"""Heartbeats of the ranks: a lost rank is named, and no rank waits for ever.

A thread of each rank counts up its own number in the store where the ranks met, reads that of the next rank, and checks
whether any rank has reported why it failed.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING

from rnnt.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.distributed import Store

BEAT = 2.0  # seconds between two heartbeats
PATIENCE = 3 * BEAT  # after an error: how long a rank may be silent before it counts as lost


class Heartbeat:
    """The heartbeats of all ranks, as one of them sees them.

    Args:
        store: a connection to the store that nothing else uses.
        rank: of this process.
        hosts: name of each rank's machine.
        timeout: seconds after which a silent rank ends this one.
    """

    def __init__(self, store: Store, rank: int, hosts: Sequence[str], timeout: float) -> None:
        self.store = store
        self.rank = rank
        self.hosts = hosts
        self.timeout = timeout
        self._lock = threading.Lock()  # the store serves one request at a time
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._beat(rank, 1)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()

    def announce(self, reason: object) -> None:
        """Tell the other ranks why this one ends. Only the reason of the first rank that fails is kept."""
        text = f"{self._name(self.rank)} failed: {one_line(reason, 500)}"
        try:
            with self._lock:
                self.store.compare_set("failed", "", text)
        except RuntimeError:
            pass  # rank 0 is gone, and the store with it: no rank can be told

    def find_lost_rank(self) -> str | None:
        """After an error: one line on the rank that is gone or has failed; None when all are well. Takes seconds."""
        deadline = time.monotonic() + PATIENCE
        try:
            before = [self._beat(rank, 0) for rank in range(len(self.hosts))]
            while time.monotonic() < deadline:
                reason = self._failure()
                if reason:
                    return reason
                time.sleep(BEAT / 4)
            after = [self._beat(rank, 0) for rank in range(len(self.hosts))]
        except RuntimeError:
            return f"{self._name(0)} is gone"
        lost = [self._name(rank) for rank, (a, b) in enumerate(zip(before, after)) if a == b and rank != self.rank]
        return f"{', '.join(lost)} gives no sign of life" if lost else None

    def _name(self, rank: int) -> str:
        return f"rank {rank} on {self.hosts[rank]}"

    def _beat(self, rank: int, step: int) -> int:
        """Add `step` to the number of a rank; returns the number."""
        with self._lock:
            return self.store.add(f"beat/{rank}", step)

    def _failure(self) -> str:
        """Why another rank failed; empty when none has reported a failure."""
        with self._lock:
            if not self.store.check(["failed"]):
                return ""
            reason = self.store.get("failed").decode(errors="replace")
        return "" if reason.startswith(self._name(self.rank) + " ") else reason

    def _run(self) -> None:
        neighbour = (self.rank + 1) % len(self.hosts)
        last, heard = -1, time.monotonic()
        while not self._stop.wait(BEAT):
            try:
                self._beat(self.rank, 1)
                reason = self._failure()
                if reason:
                    self._end_soon(reason)
                now = self._beat(neighbour, 0)
            except RuntimeError:
                self._end_soon(f"{self._name(0)} is gone")
                return
            if now != last:
                last, heard = now, time.monotonic()
            elif time.monotonic() - heard > self.timeout:
                reason = f"{self._name(neighbour)} has given no sign of life for {self.timeout:.0f} s"
                self.announce(reason)
                self._end_soon(reason)

    def _end_soon(self, reason: str) -> None:
        """End the process, unless it ends by itself first: with a better message, or because all is done."""
        if self._stop.wait(2 * PATIENCE):
            return
        program = os.path.basename(sys.argv[0])
        print(f"{program}: error: rank {self.rank}: {reason}; this rank ends too", file=sys.stderr, flush=True)
        os._exit(1)
