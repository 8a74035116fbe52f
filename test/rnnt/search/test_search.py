"""Promises that every search keeps."""

import pytest
import torch

from rnnt.options import make, make_parser, parse
from rnnt.search import search
from rnnt.search.config import METHODS, SEARCHES, Search, SearchConfig


@pytest.mark.parametrize("method", SEARCHES)
@pytest.mark.parametrize("predictor", ["stateless", "lstm"])
def test_batch_of_one_equals_batch_of_many_in_any_order(make_model, make_batch, method, predictor):
    model = make_model(predictor, blank=3, scale=1.5)
    config = SearchConfig(method, beam_size=3, nbest=3)
    lengths = [7, 0, 20, 1, 12]
    h_BTD, h_len_B = make_batch(lengths)
    together = search(model, h_BTD, h_len_B, config)
    order = torch.tensor([2, 4, 1, 0, 3])
    shuffled = search(model, h_BTD[order], h_len_B[order], config)
    for b, length in enumerate(lengths):
        [alone] = search(model, h_BTD[b : b + 1, :length], h_len_B[b : b + 1], config)
        for other in (together[b], shuffled[order.tolist().index(b)]):
            assert [(h.tokens, h.frames) for h in other] == [(h.tokens, h.frames) for h in alone]
            assert [h.score for h in other] == pytest.approx([h.score for h in alone], abs=1e-4)


@pytest.mark.parametrize("method", SEARCHES)
def test_no_frames_and_no_utterances(make_model, method):
    config = SearchConfig(method)
    assert search(make_model(), torch.zeros(0, 0, 6), torch.zeros(0, dtype=torch.int64), config) == []
    for frames in (0, 4):
        [[best]] = search(make_model(), torch.zeros(1, frames, 6), torch.tensor([0]), config)
        assert best.tokens == () and best.score == 0.0


@pytest.mark.parametrize("method", SEARCHES)
def test_more_hypotheses_wanted_than_there_are_tokens(make_model, make_batch, method):
    [found] = search(make_model(vocab=2), *make_batch([2]), SearchConfig(method, beam_size=9, nbest=9))
    assert 1 <= len(found) <= 9 and len({h.tokens for h in found}) == len(found)


def test_a_search_from_outside_is_chosen_like_ours(make_model, make_batch, monkeypatch):
    asked = []

    def mine(stepper, h_BTD, h_len_B, config):
        asked.append((h_BTD.shape, h_len_B.tolist(), config.beam_size))
        return ["found"]

    monkeypatch.setitem(SEARCHES, "mine", Search(mine, "100 % mine"))
    parser = make_parser(None, SearchConfig)
    shown = " ".join(parser.format_help().split())
    for name, choice in METHODS.items():
        assert f"{name}: {choice.help}" in shown
    [config], _ = parse(parser, [SearchConfig], ["--decoding-method", "mine", "--beam-size", "2"])
    assert search(make_model(), *make_batch([3]), config) == ["found"]
    assert asked == [((1, 3, 6), [3], 2)]


def test_a_search_is_chosen_among_those_there_are(capsys):
    with pytest.raises(SystemExit):
        parse(make_parser(None, SearchConfig), [SearchConfig], ["--decoding-method", "mine"])
    assert f"argument --decoding-method: 'mine' is not one of {', '.join(METHODS)}" in capsys.readouterr().err


@pytest.mark.parametrize("values", [{"decoding_method": "best"}, {"beam_size": 0}, {"max_sym_per_frame": 0}])
def test_bad_options_are_refused(values):
    with pytest.raises(ValueError, match="--" + next(iter(values)).replace("_", "-")):
        make(SearchConfig, **values)
