import math

import pytest
import torch

from rnnt.search.prefixes import ROOT, PrefixTree, merge_equal, token_hashes


def test_merge_equal_adds_probabilities():
    merged = merge_equal(torch.tensor([[-1.0, -2.0, -3.0, -4.0]]), torch.tensor([[7, 8, 7, 8]]))
    assert merged[0, :2].exp().tolist() == pytest.approx([math.exp(-1) + math.exp(-3), math.exp(-2) + math.exp(-4)])
    assert merged[0, 2:].tolist() == [-math.inf, -math.inf]


def test_empty_slots_stay_empty():
    merged = merge_equal(torch.tensor([[-1.0, -math.inf, -math.inf]]), torch.tensor([[5, 5, 6]]))
    assert merged.tolist() == [[-1.0, -math.inf, -math.inf]]


def test_tree_gives_the_tokens_back():
    tree = PrefixTree()
    half = torch.full((1, 2), 0.5)
    first = tree.add(3, torch.tensor([[ROOT, ROOT]]), torch.tensor([[4, 5]]), half.log(), half)
    second = tree.add(7, first.flip(1), torch.tensor([[6, 7]]), half.log(), half)
    nodes = torch.tensor([[int(second[0, 0]), int(second[0, 1]), ROOT]])
    [[a, b]] = tree.hypotheses(nodes, torch.tensor([[-1.0, -2.0, -math.inf]]))
    assert (a.tokens, a.frames, a.score) == ((5, 6), (3, 7), -1.0) and (b.tokens, b.frames) == ((4, 7), (3, 7))
    assert a.confidences == (0.5, 0.5) and a.token_scores == pytest.approx((math.log(0.5),) * 2)


def test_token_hashes_are_the_same_every_time_and_all_different():
    assert torch.equal(token_hashes(500, "cpu"), token_hashes(500, "cpu"))
    assert len(set(token_hashes(500, "cpu").tolist())) == 500
