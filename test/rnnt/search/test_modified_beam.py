import math

import pytest

from rnnt.search import search
from rnnt.search.config import SearchConfig


def config(beam, **more):
    return SearchConfig("modified_beam_search", beam_size=beam, nbest=beam, length_norm=False, **more)


@pytest.mark.parametrize("predictor", ["stateless", "lstm"])
@pytest.mark.parametrize("blank", [0, 3, 5])
@pytest.mark.parametrize("beam", [2, 4, 9])
def test_equals_search_with_dictionaries(make_model, make_batch, naive, predictor, blank, beam):
    model = make_model(predictor, blank, seed=20 + beam, scale=1.5)
    h_BTD, h_len_B = make_batch([13, 0, 1, 9, 22, 4])
    results = search(model, h_BTD, h_len_B, config(beam))
    for b, found in enumerate(results):
        expected = naive(model, h_BTD[b, : h_len_B[b]]).modified_beam(beam)
        assert {h.tokens for h in found} == set(expected)
        for h in found:
            assert h.score == pytest.approx(expected[h.tokens], abs=1e-4)
        assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)


@pytest.mark.parametrize("predictor", ["stateless", "lstm"])
def test_beam_of_one_equals_greedy_with_one_token_per_frame(make_model, make_batch, predictor):
    model = make_model(predictor, blank=2, scale=1.5)
    batch = make_batch([17, 3, 0, 30])
    greedy = search(model, *batch, SearchConfig(max_sym_per_frame=1))
    beam = search(model, *batch, SearchConfig("modified_beam_search", beam_size=1))
    for [a], [b] in zip(greedy, beam):
        assert (a.tokens, a.frames) == (b.tokens, b.frames)
        assert a.score == pytest.approx(b.score, abs=1e-4)
        assert a.token_scores == pytest.approx(b.token_scores, abs=1e-4)


def test_exhaustive_beam_equals_sum_over_all_paths(make_model, make_batch, naive):
    model = make_model("lstm", blank=1, vocab=3, scale=1.0)
    h_BTD, h_len_B = make_batch([5])
    expected = naive(model, h_BTD[0]).all_paths(1, modified=True)
    [found] = search(model, h_BTD, h_len_B, config(200))
    assert {h.tokens: h.score for h in found} == pytest.approx(expected, abs=1e-4)
    assert math.fsum(math.exp(h.score) for h in found) == pytest.approx(1.0, abs=1e-4)


def test_frames_and_token_scores_belong_to_a_path(make_model, make_batch, naive):
    model = make_model(scale=1.5)
    h_BTD, h_len_B = make_batch([20])
    log_probs = naive(model, h_BTD[0])
    [found] = search(model, h_BTD, h_len_B, config(4))
    for h in found:
        assert list(h.frames) == sorted(set(h.frames))
        for u, (token, t) in enumerate(zip(h.tokens, h.frames)):
            assert h.token_scores[u] == pytest.approx(log_probs(t, h.tokens[:u])[token], abs=1e-4)


def test_length_norm_ranks_by_score_per_token(make_model, make_batch):
    model = make_model(scale=1.0, blank_bias=0.0)
    [found] = search(model, *make_batch([12]), SearchConfig("modified_beam_search", beam_size=8, nbest=8))
    ratios = [h.score / (len(h.tokens) + 1) for h in found]
    assert ratios == sorted(ratios, reverse=True) and len(found) > 2
