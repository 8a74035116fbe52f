"""CTC searches: the best path by hand, the prefix beam against the sum over all paths, in batches, with fusion."""

import itertools
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rnnt.errors import UserError
from rnnt.search import search
from rnnt.search.config import CTC_SEARCHES, SearchConfig
from rnnt.search.fusion import TableScorer
from rnnt.search.needs import default_search

V = 4


class Head:
    """Log-probabilities as they are given; h is its own score."""

    def log_probs(self, h_BTD):
        return h_BTD.log_softmax(dim=-1)


def make_model(blank=0, transducer=False):
    joiner = SimpleNamespace() if transducer else None
    return SimpleNamespace(heads={"ctc": Head()}, blank_id=blank, vocab_size=V, joiner=joiner, predictor=joiner)


def scores(lengths, seed=0, scale=2.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(len(lengths), max(lengths, default=0), V, generator=generator), torch.tensor(lengths)


def collapse(path, blank):
    """(tokens, first frames) of a path."""
    tokens, frames = [], []
    for t, symbol in enumerate(path):
        if symbol != blank and (t == 0 or symbol != path[t - 1]):
            tokens.append(symbol)
            frames.append(t)
    return tuple(tokens), tuple(frames)


def all_paths(logp_TV, blank):
    """{tokens: (log-probability of all paths, of the best one, its frames)}."""
    total, best = defaultdict(lambda: -np.inf), {}
    for path in itertools.product(range(V), repeat=len(logp_TV)):
        score = sum(logp_TV[t, symbol] for t, symbol in enumerate(path))
        tokens, frames = collapse(path, blank)
        total[tokens] = np.logaddexp(total[tokens], score)
        best[tokens] = max(best.get(tokens, (-np.inf, ())), (score, frames))
    return {tokens: (score, *best[tokens]) for tokens, score in total.items()}


def config(method="ctc_prefix_beam_search", **options):
    return SearchConfig(decoding_method=method, **options)


@pytest.mark.parametrize("blank", [0, 2])
def test_greedy_is_the_best_path(blank):
    h_BTD, h_len_B = scores([9, 1, 6, 0])
    h_BTD[0, 3] = h_BTD[0, 2]  # a token over two frames
    found = search(make_model(blank), h_BTD, h_len_B, config("ctc_greedy_search"))
    for b, length in enumerate(h_len_B.tolist()):
        logp_TV = h_BTD[b, :length].log_softmax(-1)
        tokens, frames = collapse(logp_TV.argmax(-1).tolist(), blank)
        (one,) = found[b]
        assert (one.tokens, one.frames) == (tokens, frames)
        assert one.score == pytest.approx(logp_TV.max(-1).values.sum().item(), abs=1e-5)
        expected = [logp_TV[t, v].item() for t, v in zip(frames, tokens)]
        assert one.token_scores == pytest.approx(expected) and one.confidences == pytest.approx(np.exp(expected))
    assert len(found[0][0].tokens) > 2


@pytest.mark.parametrize("blank, seed", [(0, 0), (3, 1), (0, 2)])
def test_a_wide_prefix_beam_is_the_sum_over_all_paths(blank, seed):
    h_BTD, h_len_B = scores([5, 3], seed)
    found = search(make_model(blank), h_BTD, h_len_B, config(beam_size=200, nbest=200, length_norm=False))
    for b, length in enumerate(h_len_B.tolist()):
        expected = all_paths(h_BTD[b, :length].log_softmax(-1).double().numpy(), blank)
        assert {one.tokens for one in found[b]} == expected.keys()
        for one in found[b]:
            total, best, frames = expected[one.tokens]
            assert one.score == pytest.approx(total, abs=1e-4), one
            assert one.frames == frames, (one, best)
        assert [one.score for one in found[b]] == sorted((one.score for one in found[b]), reverse=True)
    assert any(one.tokens[i] == one.tokens[i + 1] for one in found[0] for i in range(len(one.tokens) - 1))


def naive_beam(logp_TV, beam, blank):
    """{tokens: score}: prefix beam search with dictionaries."""
    texts = {(): (0.0, -np.inf)}
    for p in logp_TV:
        after = defaultdict(lambda: [-np.inf, -np.inf])
        for y, (b, n) in texts.items():
            both = np.logaddexp(b, n)
            after[y][0] = np.logaddexp(after[y][0], both + p[blank])
            for v in set(range(V)) - {blank}:
                again = bool(y) and y[-1] == v
                if again:
                    after[y][1] = np.logaddexp(after[y][1], n + p[v])
                longer = (*y, v)
                after[longer][1] = np.logaddexp(after[longer][1], (b if again else both) + p[v])
        ranked = sorted(after.items(), key=lambda item: -np.logaddexp(*item[1]))
        if len(ranked) > beam:
            assert np.logaddexp(*ranked[beam - 1][1]) - np.logaddexp(*ranked[beam][1]) > 1e-5, "a tie: another seed"
        texts = {y: tuple(pair) for y, pair in ranked[:beam]}
    return {y: np.logaddexp(*pair) for y, pair in texts.items()}


@pytest.mark.parametrize("beam", [1, 2, 5])
def test_a_narrow_prefix_beam_is_the_plain_one(beam):
    h_BTD, h_len_B = scores([30, 12, 25], seed=beam)
    found = search(make_model(), h_BTD, h_len_B, config(beam_size=beam, nbest=beam, length_norm=False))
    for b, length in enumerate(h_len_B.tolist()):
        expected = naive_beam(h_BTD[b, :length].log_softmax(-1).double().numpy(), beam, 0)
        assert {one.tokens: pytest.approx(one.score, abs=1e-4) for one in found[b]} == expected


@pytest.mark.parametrize("method", CTC_SEARCHES)
def test_a_batch_changes_nothing(method):
    h_BTD, h_len_B = scores([14, 0, 9, 14, 3])
    options = config(method, beam_size=3, nbest=2, confidence="entropy", blank_penalty=0.3, temperature=1.2)
    together = search(make_model(), h_BTD, h_len_B, options)
    for b, length in enumerate(h_len_B.tolist()):
        (alone,) = search(make_model(), h_BTD[b : b + 1, :length], h_len_B[b : b + 1], options)
        assert [(one.tokens, one.frames) for one in together[b]] == [(one.tokens, one.frames) for one in alone]
        assert [one.score for one in together[b]] == pytest.approx([one.score for one in alone], abs=1e-5)
        assert all(0 <= confidence <= 1 for one in alone for confidence in one.confidences)
    assert together[1][0].tokens == () and together[1][0].score == 0
    assert search(make_model(), h_BTD[:0], h_len_B[:0], options) == []


def test_fusion_adds_the_scores_of_the_text():
    """A bigram in tables; every text gets the sum of its tokens' scores and the final one, whatever its paths."""
    generator = np.random.default_rng(0)
    score_SV, final_S = generator.normal(size=(V, V)), generator.normal(size=V)
    scorer = TableScorer(0, np.tile(np.arange(V), (V, 1)), score_SV, final_S)
    h_BTD, h_len_B = scores([5, 4], seed=3)
    options = config(beam_size=200, nbest=200, length_norm=False, length_bonus=0.2)
    found = search(make_model(), h_BTD, h_len_B, options, [(scorer, 0.7)])
    for b, length in enumerate(h_len_B.tolist()):
        expected = all_paths(h_BTD[b, :length].log_softmax(-1).double().numpy(), 0)
        for one in found[b]:
            history = (0, *one.tokens)
            added = sum(0.7 * score_SV[x, y] + 0.2 for x, y in zip(history, history[1:])) + 0.7 * final_S[history[-1]]
            assert one.score == pytest.approx(expected[one.tokens][0] + added, abs=1e-4)
    narrow = search(
        make_model(), h_BTD, h_len_B, config(beam_size=12, length_norm=False, length_bonus=0.2), [(scorer, 0.7)]
    )
    assert narrow[0][0].tokens == found[0][0].tokens and len({one.tokens for one in found[0]}) == len(found[0])
    with pytest.raises(UserError, match="ctc_prefix_beam_search"):
        search(make_model(), h_BTD, h_len_B, config("ctc_greedy_search"), [(scorer, 0.7)])


def test_blank_penalty_and_temperature_are_those_of_logits():
    h_BTD, h_len_B = scores([7])
    changed = h_BTD.clone()
    changed[:, :, 0] -= 1.5
    for method in CTC_SEARCHES:
        (one,), (other,) = (
            search(make_model(), h, h_len_B, config(method, **options))[0]
            for h, options in ((h_BTD, {"blank_penalty": 1.5, "temperature": 1.3}), (changed / 1.3, {}))
        )
        assert one.tokens == other.tokens and one.score == pytest.approx(other.score, abs=1e-4)


def test_a_model_is_asked_for_what_it_has():
    h_BTD, h_len_B = scores([3])
    with pytest.raises(
        UserError, match="greedy_search can't be used, the model has no predictor and joiner.*ctc_greedy"
    ):
        search(make_model(), h_BTD, h_len_B, config("greedy_search"))
    without = SimpleNamespace(joiner=object(), blank_id=0, vocab_size=V)
    with pytest.raises(UserError, match="was not trained with --loss ctc; choose beam_search or greedy_search"):
        search(without, h_BTD, h_len_B, config("ctc_greedy_search"))
    assert default_search(make_model()).decoding_method == "ctc_greedy_search"
    assert default_search(make_model(transducer=True)).decoding_method == "greedy_search"
    chosen = config("beam_search")
    assert default_search(make_model(), chosen) == chosen
