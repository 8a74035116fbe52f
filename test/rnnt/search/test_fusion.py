"""Language models, length bonus, blank penalty, temperature and confidences in every search."""

import math

import numpy as np
import pytest
import torch

from rnnt.search import search
from rnnt.search.config import SEARCHES, SearchConfig
from rnnt.search.fusion import TableScorer
from rnnt.search.stepper import entropy_confidence


class LastToken:
    """A scorer written out plainly: a random score for each pair of neighbouring tokens, and one at the end."""

    def __init__(self, vocab, seed=0):
        rng = np.random.default_rng(seed)
        self.pair_VV = rng.normal(size=(vocab + 1, vocab))  # row `vocab`: the start
        self.last_V = rng.normal(size=vocab + 1)

    def total(self, tokens):
        history = [len(self.last_V) - 1, *tokens]
        return sum(self.pair_VV[a, b] for a, b in zip(history, tokens)) + self.last_V[history[-1]]

    def table(self):
        vocab = self.pair_VV.shape[1]
        next_SV = np.tile(np.arange(vocab), (vocab + 1, 1))
        return TableScorer(vocab, next_SV, self.pair_VV, self.last_V)


@pytest.mark.parametrize("method", ["beam_search", "modified_beam_search", "time_sync_beam_search"])
def test_exhaustive_beam_adds_the_scorer_to_every_hypothesis(make_model, make_batch, naive, method):
    model = make_model(vocab=3, scale=1.0)
    h_BTD, h_len_B = make_batch([3])
    modified = method == "modified_beam_search"
    plain = naive(model, h_BTD[0]).all_paths(2, modified)
    scorer = LastToken(3)
    config = SearchConfig(method, beam_size=2000, max_sym_per_frame=2, nbest=2000, length_norm=False, length_bonus=0.25)
    [found] = search(model, h_BTD, h_len_B, config, [(scorer.table(), 0.5)])
    expected = {t: s + 0.5 * scorer.total(t) + 0.25 * len(t) for t, s in plain.items()}
    assert {h.tokens: h.score for h in found} == pytest.approx(expected, abs=1e-4)


def test_greedy_search_follows_the_scorer(make_model, make_batch, naive):
    model = make_model(blank=2, scale=1.5)
    h_BTD, h_len_B = make_batch([14, 9])
    scorer = LastToken(6, seed=3)
    found = search(model, h_BTD, h_len_B, SearchConfig(max_sym_per_frame=2), [(scorer.table(), 2.0)])
    for b, [best] in enumerate(found):
        log_probs = naive(model, h_BTD[b, : h_len_B[b]])
        tokens, score = [], 0.0
        for t in range(h_len_B[b]):
            for _ in range(2):
                fused = log_probs(t, tokens) + 2.0 * scorer.pair_VV[tokens[-1] if tokens else 6] * (np.arange(6) != 2)
                score += fused.max()
                if fused.argmax() == 2:
                    break
                tokens.append(int(fused.argmax()))
        assert best.tokens == tuple(tokens) and len(tokens) > 2
        assert best.score == pytest.approx(score + 2.0 * scorer.last_V[tokens[-1]], abs=1e-4)


@pytest.mark.parametrize("method", SEARCHES)
def test_two_scorers_that_cancel_change_nothing(make_model, make_batch, method):
    model, batch = make_model(scale=1.5), make_batch([8, 5])
    config = SearchConfig(method, nbest=2)
    both = search(model, *batch, config, [(LastToken(6).table(), 0.7), (LastToken(6).table(), -0.7)])
    for a, b in zip(search(model, *batch, config), both):
        assert [h.tokens for h in a] == [h.tokens for h in b]
        assert [h.score for h in a] == pytest.approx([h.score for h in b], abs=1e-4)


@pytest.mark.parametrize("method", SEARCHES)
def test_blank_penalty_and_length_bonus_bring_more_tokens(make_model, make_batch, method):
    model, batch = make_model(scale=1.0, blank_bias=1.0), make_batch([25])
    lengths = [
        len(search(model, *batch, SearchConfig(method, max_sym_per_frame=2, **more))[0][0].tokens)
        for more in ({}, {"blank_penalty": 4.0}, {"length_bonus": 4.0})
    ]
    assert lengths[1] > lengths[0] and lengths[2] > lengths[0]


@pytest.mark.parametrize("method", SEARCHES)
def test_temperature_flattens_but_keeps_the_greedy_path(make_model, make_batch, method):
    model, batch = make_model(), make_batch([12])
    [[sharp]] = search(model, *batch, SearchConfig(method, beam_size=1, max_sym_per_frame=1))
    [[flat]] = search(model, *batch, SearchConfig(method, beam_size=1, max_sym_per_frame=1, temperature=3.0))
    assert sum(flat.confidences) < sum(sharp.confidences)
    if method in ("greedy_search", "modified_beam_search"):
        assert flat.tokens == sharp.tokens


@pytest.mark.parametrize("method", SEARCHES)
@pytest.mark.parametrize("kind", ["max_prob", "entropy"])
def test_confidences_come_from_the_distribution_at_the_token(make_model, make_batch, naive, method, kind):
    model = make_model(blank=5)
    h_BTD, h_len_B = make_batch([10])
    [[best]] = search(model, h_BTD, h_len_B, SearchConfig(method, confidence=kind))
    log_probs = naive(model, h_BTD[0])
    assert len(best.confidences) == len(best.tokens) > 1
    for u, (token, t, confidence) in enumerate(zip(best.tokens, best.frames, best.confidences)):
        p = np.exp(log_probs(t, best.tokens[:u]))
        expected = p[token] if kind == "max_prob" else 1 + (p * np.log(p)).sum() / math.log(6)
        assert confidence == pytest.approx(expected, abs=1e-4)


def test_entropy_confidence_of_a_certain_and_of_a_uniform_distribution():
    logp_2V = torch.tensor([[0.0, -math.inf, -math.inf, -math.inf], [math.log(0.25)] * 4])
    assert entropy_confidence(logp_2V).tolist() == pytest.approx([1.0, 0.0], abs=1e-6)
