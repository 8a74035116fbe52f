import numpy as np
import pytest

from rnnt.search import search
from rnnt.search.config import SearchConfig


def config(beam, most, **more):
    return SearchConfig("time_sync_beam_search", beam, max_sym_per_frame=most, nbest=beam, length_norm=False, **more)


def naive_search(log_probs, frames, blank, beam, most):
    """{tokens: score} by dictionaries."""
    hypotheses = {(): 0.0}

    def best(candidates):
        return dict(sorted(candidates.items(), key=lambda item: -item[1])[:beam])

    for t in range(frames):
        closed, open_ = {}, hypotheses
        for _ in range(most + 1):
            for tokens, score in open_.items():
                closed[tokens] = np.logaddexp(closed.get(tokens, -np.inf), score + log_probs(t, tokens)[blank])
            closed = best(closed)
            worst = min(closed.values()) if len(closed) == beam else -np.inf
            open_ = best(
                {
                    (*tokens, v): score + logp
                    for tokens, score in open_.items()
                    for v, logp in enumerate(log_probs(t, tokens))
                    if v != blank
                }
            )
            open_ = {tokens: score for tokens, score in open_.items() if score > worst}
        hypotheses = closed
    return hypotheses


@pytest.mark.parametrize("predictor", ["stateless", "lstm"])
@pytest.mark.parametrize("blank", [0, 3])
@pytest.mark.parametrize("beam", [2, 5])
def test_equals_search_with_dictionaries(make_model, make_batch, naive, predictor, blank, beam):
    model = make_model(predictor, blank, seed=beam, scale=1.5)
    lengths = [7, 0, 1, 5]
    h_BTD, h_len_B = make_batch(lengths)
    for b, found in enumerate(search(model, h_BTD, h_len_B, config(beam, 3))):
        expected = naive_search(naive(model, h_BTD[b, : lengths[b]]), lengths[b], blank, beam, 3)
        assert {h.tokens: h.score for h in found} == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("predictor", ["stateless", "lstm"])
def test_exhaustive_beam_equals_sum_over_all_paths(make_model, make_batch, naive, predictor):
    model = make_model(predictor, blank=1, vocab=3, scale=1.0)
    h_BTD, h_len_B = make_batch([3])
    expected = naive(model, h_BTD[0]).all_paths(2, modified=False)
    [found] = search(model, h_BTD, h_len_B, config(200, 2))
    assert {h.tokens: h.score for h in found} == pytest.approx(expected, abs=1e-4)


def test_equals_graves_search_on_a_peaked_model(make_model, make_batch):
    """Where the best hypotheses are clear both searches find them."""
    model, batch = make_model(scale=4.0), make_batch([10, 6])
    for a, b in zip(
        search(model, *batch, config(8, 3)),
        search(model, *batch, SearchConfig("beam_search", 8, max_sym_per_frame=3, length_norm=False)),
    ):
        assert a[0].tokens == b[0].tokens and a[0].score == pytest.approx(b[0].score, abs=0.05)
