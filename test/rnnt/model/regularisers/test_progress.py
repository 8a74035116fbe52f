"""Schedules, the clock that they follow, and what whitening remembers from update to update."""

import pytest
import torch
from torch import nn

from rnnt.model.regularisers import chance
from rnnt.model.regularisers.dropout import ScheduledDropout, UtteranceDrop
from rnnt.model.regularisers.schedule import Schedule, adjusted_batch_count, set_progress
from rnnt.model.regularisers.whiten import (
    OFTEN,
    SELDOM,
    Whiten,
    commit_whitening,
    discard_whitening,
    load_whitening_state,
    whitening_state,
)


def test_schedules_are_straight_between_points():
    schedule = Schedule(((0.0, 0.2), (4000.0, 0.05), (16000.0, 0.0)), default=7.0)
    expected = {-1.0: 0.2, 0.0: 0.2, 2000.0: 0.125, 4000.0: 0.05, 10000.0: 0.025, 16000.0: 0.0, 1e6: 0.0, None: 7.0}
    assert {count: schedule.at(count) for count in expected} == pytest.approx(expected)


def test_the_clock_counts_audio_and_is_read_every_ten_updates():
    assert [adjusted_batch_count(step, 1200.0) for step in (0, 9, 10, 19, 100)] == [0, 0, 20, 20, 200]
    assert adjusted_batch_count(0, 1200.0, warmed_up=True) == 100_000
    assert adjusted_batch_count(100, 1200.0, ref_duration=300.0) == 400


def test_progress_reaches_every_module():
    dropout = ScheduledDropout(Schedule(((0.0, 0.5), (100.0, 0.0))))
    model = nn.Sequential(nn.Linear(2, 2), dropout)
    assert dropout.mask(torch.ones(1, 2, 3)) is None  # the default
    set_progress(model, 0.0, loss_scale=0.25)
    assert dropout.loss_scale == 0.25
    assert set(dropout(torch.ones(8, 2, 50)).unique().tolist()) == {0.0, 2.0}
    set_progress(model, 100.0)
    assert dropout.mask(torch.ones(1, 2, 3)) is None
    set_progress(model, 0.0)
    assert dropout.eval().mask(torch.ones(1, 2, 3)) is None


def test_dropping_utterances_does_not_scale_the_others():
    torch.manual_seed(0)
    y = UtteranceDrop(0.5)(torch.ones(40, 3, 2))
    assert set(y.flatten(1).mean(1).tolist()) == {0.0, 1.0}


def white(number):
    """Frames with as much of every channel."""
    return torch.eye(4).repeat(number, 1) - 0.25


def run(whiten, x):
    whiten(x.clone().requires_grad_()).backward(torch.ones_like(x))


@pytest.fixture
def always(monkeypatch):
    monkeypatch.setattr(chance, "happens", lambda probability: True)


def test_whitening_remembers_at_the_update(always):
    model = nn.Sequential(Whiten(1.5), nn.Linear(1, 1), Whiten(1.5))
    far = white(3) * torch.tensor([9.0, 1.0, 1.0, 1.0])
    run(model[0], white(3))
    run(model[2], far)
    run(model[2], white(3))
    assert whitening_state(model) == {"0": OFTEN, "2": OFTEN}
    commit_whitening(model)
    assert whitening_state(model) == {"0": SELDOM, "2": OFTEN}  # any micro-batch above the limit counts
    run(model[2], white(3))
    discard_whitening(model)
    commit_whitening(model)
    assert whitening_state(model) == {"0": SELDOM, "2": OFTEN}
    other = nn.Sequential(Whiten(1.5), nn.Linear(1, 1), Whiten(1.5))
    load_whitening_state(other, whitening_state(model))
    assert whitening_state(other) == whitening_state(model)


def test_whitening_hears_the_other_ranks():
    """A rank that measured nothing takes over what the others found."""
    model = nn.Sequential(Whiten(1.5), nn.Linear(1, 1))

    def all_reduce(counts):
        counts += torch.tensor([[3.0, 0.0]], dtype=torch.float64)

    commit_whitening(model, all_reduce)
    assert whitening_state(model) == {"0": SELDOM}


def test_chances_come_from_torchs_generator():
    def draws():
        torch.manual_seed(5)
        return [chance.happens(0.5) for _ in range(20)] + [chance.choose(4) for _ in range(20)]

    first = draws()
    assert first == draws() and {True, False} <= set(first[:20]) and set(first[20:]) == {0, 1, 2, 3}
    assert chance.happens(1.0) and not chance.happens(0.0)
