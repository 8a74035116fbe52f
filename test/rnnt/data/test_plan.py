"""The batch plan is a pure function, complete, within its limit, and divided among the ranks without loss."""

import numpy as np
import pytest

from rnnt.data.config import BatchConfig
from rnnt.data.plan import parts_of_rank, plan_epoch, plan_evaluation, plan_fixed, plan_training
from rnnt.errors import UserError
from rnnt.options import make

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
    ranks = [list(parts_of_rank(plan, r, world_size, accumulation)) for r in range(world_size)]
    assert len({len(shards) for shards in ranks}) == 1
    group = world_size * accumulation
    for update, shards in enumerate(zip(*ranks)):
        there = sorted(p for shard in shards for p in shard.positions)
        assert there == list(range(update * group, min((update + 1) * group, len(plan))))
        assert all(shard.weight == sum(len(plan[p]) for p in there) for shard in shards)


def test_resume_continues_where_it_was():
    plan = plan_epoch(DURATIONS, 60, 1, 1)
    complete = list(parts_of_rank(plan, 0, 1, 2))
    assert list(parts_of_rank(plan, 0, 1, 2, first=10)) == complete[5:]


def test_fixed_batches_make_complete_updates():
    plan = plan_fixed(DURATIONS, batch_size=6, group=8, num_buckets=1, seed=1, epoch=1)
    assert len(plan) == 80 and {len(b) for b in plan} == {6}
    assert len(set(flat(plan))) == 480
    again = plan_fixed(DURATIONS.copy(), 6, 8, 1, 1, 1)
    assert flat(plan) == flat(again)
    other = plan_fixed(DURATIONS, 6, 8, 1, 1, 2)
    # Another epoch leaves others out, and not those at the end of some order.
    assert set(flat(plan)) != set(flat(other)) and set(flat(plan)) | set(flat(other)) > set(flat(plan))
    assert flat(plan) != flat(other) != flat(plan_fixed(DURATIONS, 6, 8, 1, 2, 2))


@pytest.mark.parametrize("world_size, accumulation", [(8, 1), (1, 8), (2, 4)])
def test_an_update_is_the_same_however_it_is_shared(world_size, accumulation):
    plan = plan_fixed(DURATIONS, 6, world_size * accumulation, 1, seed=1, epoch=1)
    ranks = [list(parts_of_rank(plan, r, world_size, accumulation)) for r in range(world_size)]
    updates = [sorted(i for shard in shards for p in shard.positions for i in plan[p]) for shards in zip(*ranks)]
    complete = plan_fixed(DURATIONS, 48, 1, 1, seed=1, epoch=1)
    assert updates == [sorted(map(int, batch)) for batch in complete]
    assert {shard.weight for shards in ranks for shard in shards} == {48}


def test_buckets_keep_similar_durations_together():
    spreads = []
    for buckets in (1, 6):
        plan = plan_fixed(DURATIONS, 5, 2, buckets, 1, 1)
        spreads.append(np.median([np.ptp(DURATIONS[np.concatenate(plan[i : i + 2])]) for i in range(0, len(plan), 2)]))
        assert len(set(flat(plan))) == 500
    assert spreads[1] < 0.4 * spreads[0]


def test_plan_of_the_options():
    assert flat(plan_training(BatchConfig(max_duration=60, seed=1), DURATIONS, 3, 4)) == flat(
        plan_epoch(DURATIONS, 60, 1, 3)
    )
    limited = plan_training(BatchConfig(batch_size=6, max_duration_utt=12.0), DURATIONS, 1, 2)
    assert DURATIONS[flat(limited)].max() <= 12.0
    kept = (DURATIONS <= 12.0).sum()
    assert len(set(flat(limited))) == kept - kept % 12
    assert len(plan_training(BatchConfig(batch_size=1, max_duration_utt=16.7), np.float32([16.7, 16.71]), 1, 1)) == 1
    for config in (BatchConfig(max_duration_utt=0.1), BatchConfig(batch_size=300)):
        with pytest.raises(UserError, match="raise it|lower --batch-size"):
            plan_training(config, DURATIONS, 1, 2)
    for bad in ({"batch_size": -1}, {"num_buckets": 0}, {"batch_size": 2, "short_first_epochs": 1}):
        with pytest.raises(ValueError, match="--(batch-size|num-buckets)"):
            make(BatchConfig, **bad)
