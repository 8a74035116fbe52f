"""Neural language models in the searches."""

import json

import numpy as np
import pytest
import torch

from rnnt.checkpoints.language_model import TrainedLanguageModel, load_language_model, write_language_model
from rnnt.errors import UserError
from rnnt.model.language.base import make_language_model
from rnnt.model.language.config import LanguageModelConfig
from rnnt.options import make
from rnnt.search import search
from rnnt.search.config import SEARCHES, FusionConfig, SearchConfig
from rnnt.search.fusion import TableScorer
from rnnt.search.lm.neural import NeuralScorer
from rnnt.search.scorers import load_scorers
from rnnt.streaming.search import StreamingSearch
from rnnt.text.ngram import estimate, write_arpa
from rnnt.text.tokenizer import Tokenizer


def lms_and(*methods):
    """Each kind of language model in each search; of the second kind only the first search is among the fast tests."""
    slow = [("transformer", method) for method in methods[1:]]
    cases = [(kind, method) for kind in ("lstm", "transformer") for method in methods]
    marked = [pytest.param(*case, marks=[pytest.mark.slow] if case in slow else []) for case in cases]
    return pytest.mark.parametrize(("make_lm", "method"), marked, indirect=["make_lm"])


class Head:
    """A CTC layer: the first columns of h are the log-probabilities."""

    def __init__(self, vocab):
        self.vocab = vocab

    def log_probs(self, h_BTD):
        return h_BTD[..., : self.vocab].log_softmax(dim=-1)


def bigram(vocab, seed=5):
    """A scorer of pairs of tokens, and the same for a text."""
    pair_VV = np.random.default_rng(seed).normal(size=(vocab + 1, vocab))
    scorer = TableScorer(vocab, np.tile(np.arange(vocab), (vocab + 1, 1)), pair_VV, np.zeros(vocab + 1))
    return scorer, lambda tokens: sum(pair_VV[a, b] for a, b in zip([vocab, *tokens], tokens))


@lms_and("modified_beam_search", "beam_search", "time_sync_beam_search", "ctc_prefix_beam_search")
def test_every_hypothesis_has_the_score_of_its_whole_text(make_model, make_batch, make_lm, lm_total, method):
    """Neural model, bigram with a negative weight and length bonus, from scratch for each of all texts there are."""
    model = make_model(vocab=3, scale=1.0)
    model.heads = {"ctc": Head(3)}
    batch = make_batch([2, 2])
    lm, (pairs, pairs_total) = make_lm(3), bigram(3)
    options = {"beam_size": 500, "max_sym_per_frame": 2, "nbest": 500, "length_norm": False}
    plain = search(model, *batch, SearchConfig(method, **options))
    config = SearchConfig(method, length_bonus=0.25, **options)
    found = search(model, *batch, config, [(NeuralScorer(lm), 0.6), (pairs, -0.3)])
    for hypotheses, without in zip(found, plain):
        expected = {
            h.tokens: h.score + 0.6 * lm_total(lm, h.tokens) - 0.3 * pairs_total(h.tokens) + 0.25 * len(h.tokens)
            for h in without
        }
        assert len(expected) >= 5 and () in expected
        assert {h.tokens: h.score for h in hypotheses} == pytest.approx(expected, abs=1e-4)


def test_greedy_search_adds_it_to_every_token(make_model, make_batch, make_lm, naive):
    model = make_model(blank=2, scale=1.5)
    h_BTD, h_len_B = make_batch([14, 9])
    lm = make_lm(6)
    found = search(
        model, h_BTD, h_len_B, SearchConfig(max_sym_per_frame=2, length_bonus=2.5), [(NeuralScorer(lm), 0.8)]
    )
    for b, [best] in enumerate(found):
        log_probs = naive(model, h_BTD[b, : h_len_B[b]])
        tokens, score = [], 0.0
        for t in range(h_len_B[b]):
            for _ in range(2):
                next_V = lm(torch.tensor([tokens], dtype=torch.int64))[0, -1].log_softmax(0).detach().numpy()
                fused = log_probs(t, tokens) + (0.8 * next_V + 2.5) * (np.arange(6) != 2)
                score += fused.max()
                if fused.argmax() == 2:
                    break
                tokens.append(int(fused.argmax()))
        assert best.tokens == tuple(tokens) and len(tokens) > 2
        assert best.score == pytest.approx(score, abs=1e-4)


@lms_and("modified_beam_search", *sorted({*SEARCHES, "ctc_prefix_beam_search"} - {"modified_beam_search"}))
def test_a_batch_changes_nothing(make_model, make_batch, make_lm, method):
    model = make_model("lstm", blank=3, scale=1.5)
    model.heads = {"ctc": Head(6)}
    config = SearchConfig(method, beam_size=3, nbest=3)
    lengths = [7, 0, 15, 1]
    h_BTD, h_len_B = make_batch(lengths)
    scorers = [(NeuralScorer(make_lm(6)), 0.5)]
    together = search(model, h_BTD, h_len_B, config, scorers)
    for b, length in enumerate(lengths):
        [alone] = search(model, h_BTD[b : b + 1, :length], h_len_B[b : b + 1], config, scorers)
        assert [(h.tokens, h.frames) for h in together[b]] == [(h.tokens, h.frames) for h in alone]
        assert [h.score for h in together[b]] == pytest.approx([h.score for h in alone], abs=1e-4)
    assert [(h.tokens, h.score) for h in together[1]] == [((), 0.0)]


@lms_and("modified_beam_search", "greedy_search", "time_sync_beam_search")
def test_chunks_give_what_the_whole_gives(make_model, make_batch, make_lm, method):
    model = make_model("lstm", blank=3, scale=1.5)
    h_BTD, h_len_B = make_batch([13])
    config, scorers = SearchConfig(method, beam_size=3, nbest=3), [(NeuralScorer(make_lm(6)), 0.5)]
    [whole] = search(model, h_BTD, h_len_B, config, scorers)
    streaming = StreamingSearch(model, config, scorers)
    state = streaming.start(h_BTD.device)
    for first in range(0, 13, 4):
        part = h_BTD[:, first : first + 4]
        [state] = streaming.advance([state], part, torch.tensor([part.shape[1]]))
    found = streaming.hypotheses(state, is_final=True)
    assert [(h.tokens, h.frames) for h in found] == [(h.tokens, h.frames) for h in whole]
    assert [h.score for h in found] == pytest.approx([h.score for h in whole], abs=1e-4)


def test_each_prefix_goes_through_the_network_once(make_model, make_batch, make_lm, monkeypatch):
    """Blanks, of which most frames consist, cost nothing."""
    lm, rows = make_lm(6), []
    step = lm.step
    monkeypatch.setattr(lm, "step", lambda token_N, state: rows.append(len(token_N)) or step(token_N, state))
    model, batch = make_model(blank_bias=3.0), make_batch([20])
    model.heads = {"ctc": Head(6)}
    for method in ("modified_beam_search", "ctc_prefix_beam_search"):
        rows.clear()
        [best, *_] = search(model, *batch, SearchConfig(method, beam_size=2, nbest=2), [(NeuralScorer(lm), 0.1)])[0]
        assert rows[0] == 1 and len(best.tokens) <= sum(rows[1:]) < 40


@pytest.fixture
def lm_dir(toy, tmp_path):
    tokenizer = Tokenizer.load(toy / "bpe.model")
    config = make(LanguageModelConfig, dim=8, layers=1, vocab_size=tokenizer.vocab_size, boundary_id=1)
    trained = TrainedLanguageModel(make_language_model(config).eval(), config, tokenizer, "epoch-1-avg-1")
    write_language_model(tmp_path / "lm", trained, {})
    return tmp_path / "lm"


def test_a_directory_gives_the_model_back(lm_dir, toy):
    tokenizer = Tokenizer.load(toy / "bpe.model")
    [(scorer, scale)] = load_scorers(FusionConfig(nn_lm=str(lm_dir), lm_scale=0.7), tokenizer)
    assert scale == 0.7 and scorer.network.vocab_size == tokenizer.vocab_size
    weights = torch.load(lm_dir / "weights.pt", weights_only=True)
    assert all(torch.equal(value, weights[name]) for name, value in scorer.network.state_dict().items())
    with pytest.raises(UserError, match="already exists"):
        write_language_model(lm_dir, load_language_model(lm_dir), {})


def test_neural_model_ngram_and_lodr_have_weights_of_their_own(lm_dir, toy, tmp_path):
    tokenizer = Tokenizer.load(toy / "bpe.model")
    arpa = str(tmp_path / "2gram.arpa")
    write_arpa(estimate([tokenizer.tokens[3:6]], 2, [t for t in tokenizer.tokens if t[0] != "<"]), arpa)
    config = FusionConfig(nn_lm=str(lm_dir), nn_lm_scale=0.5, lm=arpa, lm_scale=0.2, lodr_lm=arpa, ngram_lm_scale=-0.1)
    assert [scale for _, scale in load_scorers(config, tokenizer)] == [0.2, -0.1, 0.5]
    assert len(load_scorers(FusionConfig(nn_lm=str(lm_dir), lodr_lm=arpa), tokenizer)) == 2
    for wrong in (
        {"lodr_lm": arpa},
        {"nn_lm_scale": 0.1},
        {"lm_scale": 0.2},
        {"word_lm_scale": 0.2, "lm": arpa},
        {"ngram_lm_scale": -0.2, "lm": arpa},
    ):
        with pytest.raises(ValueError, match="give it|give one of them"):
            FusionConfig(**wrong)


def test_bad_models_are_named(lm_dir, toy, tmp_path):
    tokenizer = Tokenizer.load(toy / "bpe.model")

    def load(folder):
        return load_scorers(FusionConfig(nn_lm=str(folder)), tokenizer)

    with pytest.raises(UserError, match="none: no such folder"):
        load(tmp_path / "none")
    with pytest.raises(UserError, match="no language model in it"):
        load(toy)
    tokenizer.tokens[-1] = "other"
    with pytest.raises(UserError, match="tokens that are not the .* of the recogniser"):
        load(lm_dir)
    description = json.loads((lm_dir / "config.json").read_text())
    description["language_model"]["model"]["dim"] = 9
    (lm_dir / "config.json").write_text(json.dumps(description))
    with pytest.raises(UserError, match="does not fit config.json"):
        load(lm_dir)
    (lm_dir / "weights.pt").write_bytes(b"")
    with pytest.raises(UserError, match="weights.pt: not the file that"):
        load(lm_dir)
