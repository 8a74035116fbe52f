"""Batches that are searched together, as on a GPU."""

from types import SimpleNamespace

import pytest
import torch

from rnnt.search import batches
from rnnt.search.config import SearchConfig


@pytest.mark.parametrize("together", [1, 5, 100])
def test_each_batch_gets_its_own_results(make_model, make_batch, monkeypatch, together):
    model = make_model(scale=1.5)
    model.encode = lambda x_BTF, x_len_B: (x_BTF, x_len_B)
    given = []
    for seed, lengths in enumerate([[9, 4, 0], [30], [3, 12, 7, 1], [20, 20]]):
        h_BTD, h_len_B = make_batch(lengths, seed)
        given.append(SimpleNamespace(x_BTF=h_BTD, x_len_B=h_len_B))
    searched = []
    plain = batches.search

    def search(model, h_BTD, h_len_B, *others):
        searched.append(len(h_len_B))
        return plain(model, h_BTD, h_len_B, *others)

    monkeypatch.setattr(batches, "search", search)
    monkeypatch.setattr(batches, "utterances_together", lambda device: together)
    found = list(batches.decode_batches(model, given, SearchConfig(), torch.device("cpu")))
    assert searched == {1: [3, 1, 4, 2], 5: [8, 2], 100: [10]}[together]
    assert [batch for batch, _, _ in found] == given
    for batch, nbest, frames in found:
        alone = plain(model, batch.x_BTF, batch.x_len_B, SearchConfig())
        assert [[h.tokens for h in hypotheses] for hypotheses in nbest] == [[h.tokens for h in n] for n in alone]
        assert frames == int(batch.x_len_B.sum())
