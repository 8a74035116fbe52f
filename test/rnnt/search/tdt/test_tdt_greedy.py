import numpy as np
import pytest
import torch

from rnnt.search import search
from rnnt.search.config import TDT_SEARCHES, SearchConfig
from rnnt.search.fusion import TableScorer
from rnnt.search.result import words
from rnnt.search.tdt import greedy

GREEDY = "tdt_greedy_search"


@pytest.mark.parametrize("window", [1, 3, 8])
@pytest.mark.parametrize("predictor", ["stateless", "lstm"])
@pytest.mark.parametrize("durations", [(0, 1, 2, 3, 4), (2, 0), (1, 3)], ids=str)
def test_equals_the_search_step_by_step(make_tdt, make_batch, plain, monkeypatch, predictor, durations, window):
    monkeypatch.setattr(greedy, "ROWS_CPU", 1000)
    monkeypatch.setattr(greedy, "LONGEST_WINDOW", window)
    h_BTD, h_len_B = make_batch([33, 0, 1, 9, 22, 4])
    for blank, most in ((0, 1), (3, 2), (5, 5)):
        model = make_tdt(durations, predictor, blank, seed=most, blank_bias=-1.0)
        results = search(model, h_BTD, h_len_B, SearchConfig(GREEDY, max_sym_per_frame=most))
        for b, [best] in enumerate(results):
            *found, score = plain(model, h_BTD[b, : h_len_B[b]]).greedy(most)
            assert [best.tokens, best.frames, best.durations] == found
            assert best.score == pytest.approx(score, abs=1e-4)
        assert max(len(best.tokens) for [best] in results) > 3


def test_batch_of_one_equals_batch_of_many_in_any_order(make_tdt, make_batch):
    model = make_tdt(blank=3, scale=1.5)
    lengths = [7, 0, 20, 1, 12, 40]
    h_BTD, h_len_B = make_batch(lengths)
    together = search(model, h_BTD, h_len_B, SearchConfig(GREEDY))
    for b, length in enumerate(lengths):
        [[alone]] = search(model, h_BTD[b : b + 1, :length], h_len_B[b : b + 1], SearchConfig(GREEDY))
        [best] = together[b]
        assert (alone.tokens, alone.frames, alone.durations) == (best.tokens, best.frames, best.durations)
        assert alone.score == pytest.approx(best.score, abs=1e-4)


def test_is_bounded_where_a_token_always_lasts_no_frame(make_tdt, make_batch):
    model = make_tdt((0, 1), blank_bias=-1000.0)
    with torch.no_grad():
        model.heads["tdt"].duration_output.bias[0] += 1000
    [[best]] = search(model, *make_batch([5]), SearchConfig(GREEDY, max_sym_per_frame=4))
    assert best.frames == tuple(t for t in range(5) for _ in range(4)) and set(best.durations) == {0}
    [[cut]] = search(model, *make_batch([5]), SearchConfig(GREEDY, max_sym_per_frame=4, max_sym_per_utt=3))
    assert cut.tokens == best.tokens[:3]


def test_blanks_alone_give_the_empty_hypothesis_and_no_frames_too(make_tdt, make_batch):
    [[best]] = search(make_tdt(blank_bias=1000.0), *make_batch([9]), SearchConfig(GREEDY))
    assert best.tokens == best.durations == ()
    [[best], [_]] = search(make_tdt(), torch.zeros(2, 0, 6), torch.tensor([0, 0]), SearchConfig(GREEDY))
    assert best.tokens == () and best.score == 0.0


def test_a_word_lasts_as_long_as_its_tokens(make_tdt, make_batch):
    model = make_tdt((0, 3), blank_bias=-1000.0)
    with torch.no_grad():
        model.heads["tdt"].duration_output.bias[1] += 1000
    [[best]] = search(model, *make_batch([9]), SearchConfig(GREEDY))
    pieces = ["", *(f"▁{letter}" for letter in "abcde")]
    assert [(word.start, word.end) for word in words(best, pieces, 0.04)] == [
        pytest.approx(times) for times in ((0.0, 0.12), (0.12, 0.24), (0.24, 0.36))
    ]


@pytest.mark.parametrize("method", TDT_SEARCHES)
def test_scorers_that_cancel_change_nothing_and_a_bonus_brings_more_tokens(make_tdt, make_batch, method):
    model, batch = make_tdt(scale=1.5), make_batch([12, 7])
    pairs = torch.randn(7, 6, generator=torch.Generator().manual_seed(0))
    scorer = TableScorer(6, torch.arange(6).repeat(7, 1), pairs, pairs[:, 0])
    plain = search(model, *batch, SearchConfig(method))
    both = search(model, *batch, SearchConfig(method), [(scorer, 0.7), (scorer, -0.7)])
    for [a], [b] in zip(plain, both):
        assert (a.tokens, a.frames) == (b.tokens, b.frames) and a.score == pytest.approx(b.score, abs=1e-4)
    for more in ({"length_bonus": 4.0}, {"blank_penalty": 4.0}):
        longer = search(model, *batch, SearchConfig(method, **more))
        assert sum(len(h.tokens) for [h] in longer) > sum(len(h.tokens) for [h] in plain)


@pytest.mark.parametrize("method", TDT_SEARCHES)
@pytest.mark.parametrize("kind", ["max_prob", "entropy"])
def test_confidences_come_from_the_distribution_at_the_token(make_tdt, make_batch, plain, method, kind):
    model = make_tdt(blank=5, blank_bias=-1.0)
    h_BTD, h_len_B = make_batch([10])
    [[best]] = search(model, h_BTD, h_len_B, SearchConfig(method, confidence=kind))
    at = plain(model, h_BTD[0]).tokens_at
    assert len(best.confidences) == len(best.tokens) > 1
    for u, (token, t, confidence) in enumerate(zip(best.tokens, best.frames, best.confidences)):
        p = np.exp(at(t, best.tokens[:u]))
        expected = p[token] if kind == "max_prob" else 1 + (p * np.log(p)).sum() / np.log(6)
        assert confidence == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("method", TDT_SEARCHES)
def test_large_batches_are_searched_with_the_same_result(make_tdt, make_batch, method):
    """A batch large enough to be packed against its utterances alone, which are not."""
    model = make_tdt(seed=3, blank_bias=-1.0)
    h_BTD, h_len_B = make_batch([260, 250, 240, 255])
    config = SearchConfig(method, beam_size=2)
    together = search(model, h_BTD, h_len_B, config)
    [[alone]] = search(model, h_BTD[1:2], h_len_B[1:2], config)
    [best] = together[1]
    assert alone.tokens == best.tokens and alone.score == pytest.approx(best.score, rel=1e-4)
