import pytest

from rnnt.search import search
from rnnt.search.config import SearchConfig


@pytest.mark.parametrize("predictor", ["stateless", "lstm"])
@pytest.mark.parametrize("blank", [0, 2])
def test_exhaustive_beam_equals_sum_over_all_paths(make_model, make_batch, naive, predictor, blank):
    model = make_model(predictor, blank, vocab=3, scale=1.0)
    h_BTD, h_len_B = make_batch([3])
    expected = naive(model, h_BTD[0]).all_paths(2, modified=False)
    config = SearchConfig("beam_search", beam_size=2000, max_sym_per_frame=2, nbest=2000, length_norm=False)
    [found] = search(model, h_BTD, h_len_B, config)
    assert {h.tokens: h.score for h in found} == pytest.approx(expected, abs=1e-4)


def test_small_beam_stays_below_the_sum_and_close_to_it(make_model, make_batch, naive):
    model = make_model(vocab=3, scale=2.0)
    h_BTD, h_len_B = make_batch([3])
    expected = naive(model, h_BTD[0]).all_paths(3, modified=False)
    config = SearchConfig("beam_search", beam_size=4, max_sym_per_frame=3, length_norm=False)
    [[best]] = search(model, h_BTD, h_len_B, config)
    assert best.score <= expected[best.tokens] + 1e-5
    assert best.tokens == max(expected, key=expected.get)


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3, 4))])
def test_is_at_least_as_probable_as_greedy(make_model, make_batch, seed):
    """With one hypothesis a search can still sum paths; with eight it must not lose to the best single path."""
    model = make_model("lstm", seed=seed, scale=1.5)
    batch = make_batch([15, 6], seed=seed)
    greedy = search(model, *batch, SearchConfig())
    beam = search(model, *batch, SearchConfig("beam_search", beam_size=8, length_norm=False))
    for [a], [b] in zip(greedy, beam):
        assert b.score >= a.score - 1e-4


def test_is_bounded_when_blank_never_wins(make_model, make_batch):
    model = make_model(blank_bias=-1000.0)
    [[best]] = search(model, *make_batch([4]), SearchConfig("beam_search", beam_size=2, max_sym_per_frame=3))
    assert len(best.tokens) <= 12


def test_frames_rise_and_scores_fit(make_model, make_batch, naive):
    model = make_model(blank=5)
    h_BTD, h_len_B = make_batch([10])
    [[best]] = search(model, h_BTD, h_len_B, SearchConfig("beam_search"))
    log_probs = naive(model, h_BTD[0])
    assert list(best.frames) == sorted(best.frames) and len(best.tokens) > 2
    for u, (token, t) in enumerate(zip(best.tokens, best.frames)):
        assert best.token_scores[u] == pytest.approx(log_probs(t, best.tokens[:u])[token], abs=1e-4)
