import numpy as np
import pytest
import torch

from rnnt.search import search
from rnnt.search.config import SearchConfig
from rnnt.search.fusion import TableScorer
from rnnt.search.lm.neural import NeuralScorer
from rnnt.search.tdt.beam import Columns, prune

BEAM = "tdt_beam_search"
EVERYTHING = {"beam_size": 400, "nbest": 400, "length_norm": False}


@pytest.mark.parametrize("predictor", ["stateless", "lstm"])
@pytest.mark.parametrize(("durations", "most"), [((0, 1, 2), 1), ((1, 2), 3), ((3, 1), 1)], ids=str)
def test_a_beam_of_everything_adds_up_all_paths(make_tdt, make_batch, plain, predictor, durations, most):
    model = make_tdt(durations, predictor, vocab=3, scale=1.0)
    h_BTD, h_len_B = make_batch([4, 1, 0, 3])
    results = search(model, h_BTD, h_len_B, SearchConfig(BEAM, max_sym_per_frame=most, **EVERYTHING))
    for b, found in enumerate(results):
        expected = plain(model, h_BTD[b, : h_len_B[b]]).all_paths(most)
        assert {h.tokens: h.score for h in found} == pytest.approx(expected, abs=1e-4)
        assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
        for h in found:
            assert len(h.tokens) == len(h.frames) == len(h.durations) == len(h.confidences)
            ends = [frame + lasts for frame, lasts in zip(h.frames, h.durations)]
            assert all(end <= frame for end, frame in zip(ends, h.frames[1:]))


def test_scorers_are_added_to_every_hypothesis(make_tdt, make_batch, plain):
    model = make_tdt((0, 1, 2), vocab=3, scale=1.0)
    h_BTD, h_len_B = make_batch([4])
    scores_SV, final_S = np.random.default_rng(0).normal(size=(4, 3)), np.random.default_rng(1).normal(size=4)
    scorer = TableScorer(3, np.tile(np.arange(3), (4, 1)), scores_SV, final_S)

    def total(tokens):
        history = [3, *tokens]
        return sum(scores_SV[a, b] for a, b in zip(history, tokens)) + final_S[history[-1]]

    paths = plain(model, h_BTD[0]).all_paths(1)
    expected = {t: score + 0.5 * total(t) + 0.25 * len(t) for t, score in paths.items()}
    config = SearchConfig(BEAM, max_sym_per_frame=1, length_bonus=0.25, **EVERYTHING)
    [found] = search(model, h_BTD, h_len_B, config, [(scorer, 0.5)])
    assert {h.tokens: h.score for h in found} == pytest.approx(expected, abs=1e-4)


def test_a_neural_model_is_added_to_every_hypothesis(make_tdt, make_batch, make_lm, lm_total):
    model, batch, lm = make_tdt(vocab=3, scale=1.0), make_batch([3]), make_lm(3)
    config = SearchConfig("tdt_beam_search", beam_size=3000, nbest=3000, max_sym_per_frame=1, length_norm=False)
    [plain], [found] = search(model, *batch, config), search(model, *batch, config, [(NeuralScorer(lm), 0.5)])
    expected = {h.tokens: h.score + 0.5 * lm_total(lm, h.tokens) for h in plain}
    assert len(expected) > 6 and {h.tokens: h.score for h in found} == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("predictor", ["stateless", "lstm"])
def test_batch_of_one_equals_batch_of_many_in_any_order(make_tdt, make_batch, predictor):
    model = make_tdt(predictor=predictor, blank=3, scale=1.5)
    config = SearchConfig(BEAM, beam_size=3, nbest=3)
    lengths = [7, 0, 20, 1, 12]
    h_BTD, h_len_B = make_batch(lengths)
    together = search(model, h_BTD, h_len_B, config)
    order = torch.tensor([2, 4, 1, 0, 3])
    shuffled = search(model, h_BTD[order], h_len_B[order], config)
    for b, length in enumerate(lengths):
        [alone] = search(model, h_BTD[b : b + 1, :length], h_len_B[b : b + 1], config)
        for other in (together[b], shuffled[order.tolist().index(b)]):
            assert [(h.tokens, h.frames, h.durations) for h in other] == [
                (h.tokens, h.frames, h.durations) for h in alone
            ]
            assert [h.score for h in other] == pytest.approx([h.score for h in alone], abs=1e-4)


def test_a_large_beam_finds_better_ones_than_a_small_one_and_than_greedy_search(make_tdt, make_batch):
    batch = make_batch([25, 40, 33])
    totals = {}
    for seed in range(4):
        model = make_tdt(seed=seed, blank_bias=0.0, scale=1.5)
        for K in (0, 2, 16):
            method = SearchConfig(BEAM, beam_size=K, length_norm=False) if K else SearchConfig("tdt_greedy_search")
            totals[K] = totals.get(K, 0.0) + sum(found[0].score for found in search(model, *batch, method))
    assert totals[16] > totals[2] + 1 and totals[16] > totals[0] + 1


def columns(*hypotheses):
    """One utterance with hypotheses (score, hash, frame)."""
    score, hashes, frame = zip(*hypotheses)
    none = torch.zeros(1, len(score), dtype=torch.int64)
    return Columns(torch.tensor([score]), torch.tensor([hashes]), none, torch.tensor([frame]), none)


def test_only_what_is_as_far_or_further_drops_a_hypothesis():
    def staying(beam_size, *hypotheses):
        score_NX, slot_NX = prune(columns(*hypotheses), beam_size)
        return {slot for slot, score in zip(slot_NX[0].tolist(), score_NX[0].tolist()) if score > -np.inf}

    assert staying(1, (-2.0, 1, 5), (-1.0, 2, 3)) == {0, 1}  # the one behind has paid for less
    assert staying(1, (-1.0, 1, 5), (-2.0, 2, 3)) == {0}  # it can't catch up
    assert staying(2, (-1.0, 1, 5), (-2.0, 2, 3)) == {0, 1}
    assert staying(1, (-1.0, 1, 5), (-2.0, 2, 5)) == {0}
    assert staying(2, (-3.0, 1, 5), (-1.0, 2, 4), (-2.0, 3, 4), (-4.0, 4, 5), (-5.0, 5, 3)) == {0, 1, 2, 3}
    assert staying(1, (-1.0, 1, 5), (-np.inf, 2, 6)) == {0}


def test_equal_tokens_are_added_on_the_same_frame_alone():
    score_NX, slot_NX = prune(columns((-3.0, 7, 4), (-1.0, 7, 4), (-2.0, 7, 5)), 4)
    assert slot_NX[0, :2].tolist() == [1, 2] and score_NX[0, 2] == -np.inf
    assert score_NX[0, :2].tolist() == pytest.approx([np.logaddexp(-1.0, -3.0), -2.0])


def test_no_frames_no_utterances_and_more_wanted_than_there_is(make_tdt, make_batch):
    none = torch.zeros(0, dtype=torch.int64)
    assert search(make_tdt(), torch.zeros(0, 0, 6), none, SearchConfig(BEAM)) == []
    for frames in (0, 4):
        [[best]] = search(make_tdt(), torch.zeros(1, frames, 6), torch.tensor([0]), SearchConfig(BEAM))
        assert best.tokens == () and best.score == 0.0
    [found] = search(make_tdt(vocab=2), *make_batch([2]), SearchConfig(BEAM, beam_size=9, nbest=9))
    assert 1 <= len(found) <= 9 and len({h.tokens for h in found}) == len(found)


def test_is_bounded_where_a_token_always_lasts_no_frame(make_tdt, make_batch):
    model = make_tdt((0, 1), blank_bias=-1000.0)
    with torch.no_grad():
        model.heads["tdt"].duration_output.bias[0] += 1000
    [[best]] = search(model, *make_batch([5]), SearchConfig(BEAM, max_sym_per_frame=4))
    assert best.frames == tuple(t for t in range(5) for _ in range(4))
