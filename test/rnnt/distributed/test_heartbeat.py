"""Heartbeats in one store, of two ranks in one process."""

import time

import pytest
import torch.distributed as dist

from rnnt.distributed import heartbeat
from rnnt.distributed.heartbeat import Heartbeat
from rnnt.distributed.launch import free_port


@pytest.fixture
def pair(monkeypatch):
    """The `Heartbeat`s of ranks 0 and 1, and what each would have printed at the end of its process."""
    monkeypatch.setattr(heartbeat, "BEAT", 0.05)
    monkeypatch.setattr(heartbeat, "PATIENCE", 0.5)
    printed = {0: [], 1: []}
    monkeypatch.setattr(Heartbeat, "_end_soon", lambda self, reason: printed[self.rank].append(reason))
    port = free_port()
    server = dist.TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
    heartbeats = [
        Heartbeat(dist.TCPStore("127.0.0.1", port, is_master=False), rank, ["a", "b"], timeout=1) for rank in (0, 1)
    ]
    yield heartbeats, printed
    for each in heartbeats:
        each.stop()
    del server


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


def test_all_are_well(pair):
    (zero, one), printed = pair
    assert zero.find_lost_rank() is None and one.find_lost_rank() is None and printed == {0: [], 1: []}


def test_a_rank_that_says_why_it_failed_is_quoted(pair):
    (zero, one), printed = pair
    one.announce("ValueError: no\nsuch thing")
    assert zero.find_lost_rank() == "rank 1 on b failed: ValueError: no such thing"
    assert one.find_lost_rank() is None, "its own failure is no loss"
    wait_until(lambda: printed[0])
    zero.announce("connection closed")
    assert zero.find_lost_rank() == "rank 1 on b failed: ValueError: no such thing", "the reason of the first is kept"
    assert not printed[1]


def test_a_silent_rank_is_missed(pair):
    (zero, one), printed = pair
    one.stop()
    assert zero.find_lost_rank() == "rank 1 on b gives no sign of life"
    wait_until(lambda: printed[0])
    assert printed[0][0] == "rank 1 on b has given no sign of life for 1 s"
