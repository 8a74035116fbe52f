"""The plan of lines and their batches."""

import numpy as np
import pytest
import torch

from rnnt.errors import UserError
from rnnt.options import make
from rnnt.training.language.config import TextBatchConfig
from rnnt.training.language.data import TextBatch, lines_fingerprint, plan_lines

LENGTHS = np.random.default_rng(0).integers(1, 40, 1000).astype(np.int32)


def plan(epoch=1, lengths=LENGTHS, **options):
    return plan_lines(lengths, make(TextBatchConfig, **{"max_tokens": 200, "block_lines": 150, **options}), epoch)


def test_every_line_once_and_no_more_tokens_than_asked():
    batches = plan()
    assert sorted(np.concatenate(batches)) == list(range(1000))
    assert all(len(batch) * (LENGTHS[batch].max() + 1) <= 200 for batch in batches)


def test_is_a_function_of_seed_and_epoch():
    def same(a, b):
        return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b))

    assert same(plan(), plan())
    assert not same(plan(), plan(epoch=2)) and not same(plan(), plan(seed=7))


def test_blocks_are_read_one_after_another_in_another_order_each_time():
    orders = []
    for epoch in (1, 2, 3):
        blocks = [set(batch // 150) for batch in plan(epoch)]
        assert all(len(block) == 1 for block in blocks)
        order = [next(iter(block)) for block in blocks]
        changes = sum(a != b for a, b in zip(order, order[1:]))
        assert changes == len(set(order)) - 1 == 6  # a block is complete before the next one begins
        orders.append(tuple(dict.fromkeys(order)))
    assert len(set(orders)) == 3


def test_long_lines_are_left_out():
    batches = plan(max_tokens_line=30)
    assert sorted(np.concatenate(batches)) == np.flatnonzero(LENGTHS <= 30).tolist()
    assert sorted(np.concatenate(plan(max_tokens_line=0, max_tokens=10))) == list(range(1000))
    with pytest.raises(UserError, match="--max-tokens-line 3"):
        plan(lengths=np.array([4, 5], np.int32), max_tokens_line=3)


def test_fingerprint_knows_all_that_the_plan_depends_on():
    base = {"seed": 1, "max_tokens": 100, "max_tokens_line": 50, "block_lines": 10}
    changed = [{}, {"seed": 2}, {"max_tokens": 101}, {"max_tokens_line": 51}, {"block_lines": 11}]
    found = {lines_fingerprint(make(TextBatchConfig, **{**base, **change}), LENGTHS) for change in changed}
    found.add(lines_fingerprint(make(TextBatchConfig, **base), LENGTHS + 1))
    assert len(found) == 6
    assert lines_fingerprint(make(TextBatchConfig, **base, num_workers=3), LENGTHS) in found


def test_parts_of_a_batch():
    batch = TextBatch(0, ["1", "2", "3"], torch.arange(12).view(3, 4), torch.tensor([4, 2, 1]))
    part = batch.part(slice(1, 3))
    assert part.ids == ["2", "3"] and part.y_BS.tolist() == [[4, 5], [8, 9]] and part.num_tokens == 5
    assert batch.describe() == "3 lines, 10 tokens, longest 4"
    assert batch.part(slice(2, 3)).describe() == "line 3 (2 tokens)"
