"""The searches on a GPU find what they find on a CPU."""

import copy

import pytest
import torch

from rnnt.search import search
from rnnt.search.config import SEARCHES, SearchConfig

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture(autouse=True)
def exact_products(monkeypatch):
    """Products in float32, not in TF32."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)


@pytest.mark.parametrize("method", SEARCHES)
@pytest.mark.parametrize("predictor", ["stateless", "lstm"])
@pytest.mark.parametrize("confidence", ["max_prob", "entropy"])
def test_the_same_words_as_on_a_cpu(make_model, make_batch, method, predictor, confidence):
    model = make_model(predictor, vocab=30, blank=3, scale=1.5)
    config = SearchConfig(method, beam_size=4, nbest=4, confidence=confidence)
    h_BTD, h_len_B = make_batch([40, 0, 17, 1, 90, 60])
    here = search(model, h_BTD, h_len_B, config)
    moved = copy.copy(model)
    moved.predictor, moved.joiner = (copy.deepcopy(part).to("cuda") for part in (model.predictor, model.joiner))
    there = search(moved, h_BTD.cuda(), h_len_B.cuda(), config)
    assert sum(len(nbest[0].tokens) for nbest in here) > 8
    for ours, theirs in zip(here, there):
        assert [(h.tokens, h.frames) for h in theirs] == [(h.tokens, h.frames) for h in ours]
        assert [h.score for h in theirs] == pytest.approx([h.score for h in ours], abs=1e-3)
        assert list(theirs[0].confidences) == pytest.approx(list(ours[0].confidences), abs=1e-4)
