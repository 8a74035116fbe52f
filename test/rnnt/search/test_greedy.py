import pytest
import torch

from rnnt.search import search
from rnnt.search.config import SearchConfig


@pytest.mark.parametrize("predictor", ["stateless", "lstm"])
@pytest.mark.parametrize("blank", [0, 3, 5])
@pytest.mark.parametrize("most", [1, 2, 5])
def test_equals_frame_by_frame_search(make_model, make_batch, naive, predictor, blank, most):
    model = make_model(predictor, blank, seed=most)
    h_BTD, h_len_B = make_batch([13, 0, 1, 9, 22, 4])
    results = search(model, h_BTD, h_len_B, SearchConfig(max_sym_per_frame=most))
    for b, [best] in enumerate(results):
        tokens, frames, score = naive(model, h_BTD[b, : h_len_B[b]]).greedy(most)
        assert (best.tokens, best.frames) == (tokens, frames)
        assert best.score == pytest.approx(score, abs=1e-4)
        assert len(best.token_scores) == len(tokens) and all(s <= 0 for s in best.token_scores)
    assert any(len(best.tokens) > 3 for [best] in results)


def test_several_tokens_on_a_frame_are_found(make_model, make_batch):
    model = make_model(blank_bias=0.0, scale=2.0)
    [[best]] = search(model, *make_batch([12]), SearchConfig(max_sym_per_frame=3))
    counts = [best.frames.count(t) for t in range(12)]
    assert max(counts) == 3 and min(counts) < 3


def test_is_bounded_when_blank_never_wins(make_model, make_batch):
    model = make_model(blank_bias=-1000.0)
    [[one], [two]] = search(model, *make_batch([5, 7]), SearchConfig(max_sym_per_frame=4))
    assert one.frames == tuple(t for t in range(5) for _ in range(4))
    assert len(two.tokens) == 28


def test_a_limit_of_tokens_ends_an_utterance(make_model, make_batch):
    model = make_model(blank_bias=0.0, scale=2.0)
    batch = make_batch([13, 0, 1, 9, 22, 4])
    complete = search(model, *batch, SearchConfig(max_sym_per_frame=3))
    for limit in (1, 5, 1000):
        cut = search(model, *batch, SearchConfig(max_sym_per_frame=3, max_sym_per_utt=limit))
        assert [best.tokens for [best] in cut] == [best.tokens[:limit] for [best] in complete]
        assert [best.frames for [best] in cut] == [best.frames[:limit] for [best] in complete]
    assert max(len(best.tokens) for [best] in complete) > 5


def test_all_blank_gives_the_empty_hypothesis(make_model, make_batch):
    model = make_model(blank_bias=1000.0)
    [[best]] = search(model, *make_batch([9]), SearchConfig())
    assert best.tokens == () and best.frames == () and best.score == pytest.approx(0.0, abs=1e-5)


def test_no_frames_at_all(make_model):
    [[best], [other]] = search(make_model(), torch.zeros(2, 0, 6), torch.tensor([0, 0]), SearchConfig())
    assert best.tokens == other.tokens == () and best.score == 0.0


def test_known_best_path_is_found(make_model):
    """Frame t votes for token t + 1; blank follows because the predictor, too, votes against repeats."""
    model = make_model(vocab=5)
    with torch.no_grad():
        for layer in (model.joiner.encoder_proj, model.joiner.predictor_proj, model.joiner.output):
            layer.weight.zero_()
            layer.bias.zero_()
        model.joiner.encoder_proj.weight[:6, :6] = torch.eye(6)
        model.joiner.output.weight[:5, :5] = 5 * torch.eye(5)
    h_BTD = torch.zeros(1, 4, 6)
    h_BTD[0, torch.arange(4), torch.tensor([2, 0, 4, 1])] = 3.0
    [[best]] = search(model, h_BTD, torch.tensor([4]), SearchConfig(max_sym_per_frame=1))
    assert best.tokens == (2, 4, 1) and best.frames == (0, 2, 3)


def test_shapes_that_do_not_fit_are_refused(make_model):
    with pytest.raises(ValueError, match="do not fit"):
        search(make_model(), torch.zeros(2, 3, 6), torch.tensor([3]), SearchConfig())
