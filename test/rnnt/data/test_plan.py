"""The batch plan is a pure function, complete, within its limit, and dealt out without loss."""

import numpy as np
import pytest

from rnnt.data.plan import plan_epoch, plan_evaluation, turns_of_rank

DURATIONS = np.random.default_rng(0).uniform(0.5, 15, 500).astype(np.float32)


def flat(plan):
    return [int(i) for batch in plan for i in batch]


@pytest.mark.parametrize("short_first", [False, True])
def test_each_utterance_once_and_within_the_limit(short_first):
    plan = plan_epoch(DURATIONS, 60, seed=1, epoch=1, short_first=short_first)
    assert sorted(flat(plan)) == list(range(500))
    assert all(len(b) * DURATIONS[b].max() <= 60.001 for b in plan)
    padding = 1 - DURATIONS.sum() / sum(len(b) * DURATIONS[b].max() for b in plan)
    assert padding < 0.1


def test_pure_function_of_seed_and_epoch():
    first = flat(plan_epoch(DURATIONS, 60, 1, 1))
    assert first == flat(plan_epoch(DURATIONS.copy(), 60, 1, 1))
    assert first != flat(plan_epoch(DURATIONS, 60, 1, 2))
    assert first != flat(plan_epoch(DURATIONS, 60, 2, 1))


def test_short_first_rises():
    plan = plan_epoch(DURATIONS, 60, 1, 1, short_first=True)
    means = [float(DURATIONS[b].mean()) for b in plan]
    # The jitter lets neighbours mix, by at most its own width.
    assert all(later > earlier * 0.9 for i, earlier in enumerate(means) for later in means[i:])


def test_too_long_utterance_is_alone():
    plan = plan_epoch(np.array([1.0, 99.0, 1.0]), 10, 0, 1)
    assert [1] in [b.tolist() for b in plan] and sorted(flat(plan)) == [0, 1, 2]


def test_evaluation_starts_with_the_longest():
    plan = plan_evaluation(DURATIONS, 60)
    assert sorted(flat(plan)) == list(range(500))
    assert DURATIONS[plan[0]].max() == DURATIONS.max()


@pytest.mark.parametrize("world_size, accumulation", [(1, 1), (2, 1), (1, 2), (3, 2), (8, 1)])
def test_ranks_share_the_plan(world_size, accumulation):
    plan = plan_epoch(DURATIONS, 60, 1, 1)
    ranks = [list(turns_of_rank(plan, r, world_size, accumulation)) for r in range(world_size)]
    assert len({len(turns) for turns in ranks}) == 1
    group = world_size * accumulation
    for update, turns in enumerate(zip(*ranks)):
        there = sorted(p for t in turns for p in t.positions)
        assert there == list(range(update * group, min((update + 1) * group, len(plan))))
        assert all(t.num_utterances == sum(len(plan[p]) for p in there) for t in turns)


def test_resume_goes_on_where_it_was():
    plan = plan_epoch(DURATIONS, 60, 1, 1)
    whole = list(turns_of_rank(plan, 0, 1, 2))
    assert list(turns_of_rank(plan, 0, 1, 2, first=10)) == whole[5:]
