"""Signs of life in one store, seen from two ranks of one process."""

import time

import pytest
import torch.distributed as dist

from rnnt.training import watch
from rnnt.training.launch import free_port
from rnnt.training.watch import Watch


@pytest.fixture
def pair(monkeypatch):
    """The watches of ranks 0 and 1, and what each would have said at the end of its process."""
    monkeypatch.setattr(watch, "BEAT", 0.05)
    monkeypatch.setattr(watch, "PATIENCE", 0.5)
    said = {0: [], 1: []}
    monkeypatch.setattr(Watch, "_end_soon", lambda self, reason: said[self.rank].append(reason))
    port = free_port()
    server = dist.TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
    watches = [Watch(dist.TCPStore("127.0.0.1", port, is_master=False), rank, ["a", "b"], timeout=1) for rank in (0, 1)]
    yield watches, said
    for one in watches:
        one.stop()
    del server


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


def test_all_are_well(pair):
    (zero, one), said = pair
    assert zero.loss() is None and one.loss() is None and said == {0: [], 1: []}


def test_a_rank_that_says_why_it_failed_is_quoted(pair):
    (zero, one), said = pair
    one.announce("ValueError: no\nsuch thing")
    assert zero.loss() == "rank 1 on b failed: ValueError: no such thing"
    assert one.loss() is None, "its own failure is no loss"
    wait_until(lambda: said[0])
    zero.announce("connection closed")
    assert zero.loss() == "rank 1 on b failed: ValueError: no such thing", "the first has the word"
    assert not said[1]


def test_a_silent_rank_is_missed(pair):
    (zero, one), said = pair
    one.stop()
    assert zero.loss() == "rank 1 on b gives no sign of life"
    wait_until(lambda: said[0])
    assert said[0][0] == "rank 1 on b has given no sign of life for 1 s"
