"""The internal language model, estimated with the encoder at zero, in the searches of transducers."""

import numpy as np
import pytest
import torch

from rnnt.search import search
from rnnt.search.config import SearchConfig


def internal_total(model, tokens):
    """Log-probability of a text by predictor and joiner, without blank and without the encoder, from scratch."""
    e_J = model.joiner.project_encoder(torch.zeros(6))
    total, state = 0.0, model.predictor.initial_state(1)
    last = model.predictor.start(1)
    for token in tokens:
        g, state = model.predictor.step(last, state)
        logits_V = model.joiner.logits(e_J, model.joiner.project_predictor(g[0])).double().detach().numpy()
        logits_V[model.blank_id] = -np.inf
        total += logits_V[token] - np.logaddexp.reduce(logits_V)
        last = torch.tensor([token])
    return total


@pytest.mark.parametrize(
    ("method", "predictor"),
    [
        ("beam_search", "stateless"),
        pytest.param("beam_search", "lstm", marks=pytest.mark.slow),
        ("modified_beam_search", "stateless"),
        ("modified_beam_search", "lstm"),
        ("time_sync_beam_search", "stateless"),
        pytest.param("time_sync_beam_search", "lstm", marks=pytest.mark.slow),
    ],
)
def test_every_hypothesis_has_the_score_of_its_whole_text(make_model, make_batch, method, predictor):
    model, batch = make_model(predictor, blank=1, vocab=3, scale=1.0), make_batch([3, 2])
    options = {"beam_size": 500, "max_sym_per_frame": 2, "nbest": 500, "length_norm": False}
    plain = search(model, *batch, SearchConfig(method, **options))
    found = search(model, *batch, SearchConfig(method, ilm_scale=-0.4, length_bonus=0.25, **options))
    for hypotheses, without in zip(found, plain):
        expected = {h.tokens: h.score - 0.4 * internal_total(model, h.tokens) + 0.25 * len(h.tokens) for h in without}
        assert len(expected) >= 5 and () in expected
        assert {h.tokens: h.score for h in hypotheses} == pytest.approx(expected, abs=1e-4)


def test_greedy_search_subtracts_it_from_every_token(make_model, make_batch, naive):
    model = make_model(blank=2, scale=1.5)
    h_BTD, h_len_B = make_batch([14, 9])
    found = search(model, h_BTD, h_len_B, SearchConfig(max_sym_per_frame=1, ilm_scale=-0.8))
    for b, [best] in enumerate(found):
        log_probs, tokens, score = naive(model, h_BTD[b, : h_len_B[b]]), [], 0.0
        for t in range(h_len_B[b]):
            before = internal_total(model, tokens)
            internal_V = [0.0 if v == 2 else internal_total(model, [*tokens, v]) - before for v in range(6)]
            fused_V = log_probs(t, tokens) - 0.8 * np.array(internal_V)
            score += fused_V.max()
            if fused_V.argmax() != 2:
                tokens.append(int(fused_V.argmax()))
        assert best.tokens == tuple(tokens) and len(tokens) > 2
        assert best.score == pytest.approx(score, abs=1e-4)
