"""Word n-grams in the search: whatever the pieces, a hypothesis has the probability of its words."""

import math

import numpy as np
import pytest
import torch

from rnnt.errors import UserError
from rnnt.search import search
from rnnt.search.config import FusionConfig, SearchConfig
from rnnt.search.lm.words import ArpaWords, WordScorer
from rnnt.search.scorers import load_scorers, read_word_model
from rnnt.text.ngram import estimate, write_arpa

TOKENS = ["<blk>", "<unk>", "\u2581a", "\u2581ab", "b", "c", "\u2581", "\u2581c"]
SENTENCES = [["ab", "c"], ["ab", "ab", "abc"], ["c", "a"], ["cab", "c"], ["abb"]]


def words_of(tokens):
    """The words of tokens; with `<unk>` in them they are unknown."""
    return "".join(TOKENS[t] for t in tokens).replace("\u2581", " ").split()


def scored(scorer, tokens):
    """The sum of what the scorer says of each token, and in the end."""
    state, total = scorer.initial_state(1, torch.device("cpu")), 0.0
    for token in tokens:
        total += float(scorer.scores(state)[0, token])
        state = scorer.step(torch.tensor([token]), state)
    return total + float(scorer.final(state)[0])


def expected(model, words, unknown=None):
    history, total = ["<s>"], 0.0
    for word in words:
        logp = model.log_prob(word, history)
        total += unknown if unknown is not None and logp < -50 else logp
        history.append(word)
    return total


@pytest.mark.parametrize("order", [1, 2, 3])
def test_every_text_has_the_probability_of_its_words(order):
    model, generator = estimate(SENTENCES, order), np.random.default_rng(order)
    scorer = WordScorer(ArpaWords(model), TOKENS)
    texts = [list(generator.integers(1, len(TOKENS), generator.integers(0, 9))) for _ in range(300)]
    texts += [[2, 4], [3], [6, 5, 4], [], [6], [6, 6, 3], [2, 4, 5, 6, 7]]  # `ab` in two ways; `▁` alone
    assert sum(all((word,) in model.entries for word in words_of(text)) for text in texts) > 20
    for text in texts:
        assert scored(scorer, text) == pytest.approx(expected(model, words_of(text)), abs=1e-4), text


def test_a_word_is_expected_from_its_first_letter_on():
    model = estimate(SENTENCES, 2)
    scorer = WordScorer(ArpaWords(model), TOKENS)
    first_V = scorer.scores(scorer.initial_state(1, torch.device("cpu")))[0]
    best = max(model.log_prob(word) for word in ("ab", "abc", "abb", "a"))
    assert float(first_V[2]) == pytest.approx(best, abs=1e-6)  # ▁a: what begins with it
    assert float(first_V[7]) == pytest.approx(max(model.log_prob(word) for word in ("c", "cab")), abs=1e-6)
    assert float(first_V[6]) == 0 and float(first_V[1]) == pytest.approx(model.log_prob("<unk>"), abs=1e-6)


def test_a_model_without_unknown_words_does_not_forbid_them():
    model = estimate(SENTENCES, 2)
    least = min(model.log_prob(gram[0]) for gram in model.entries if len(gram) == 1 and gram[0][0] != "<")
    for log10 in (-99.0, -100.0):
        model.entries["<unk>",] = (log10, 0.0)
        scorer = WordScorer(ArpaWords(model), TOKENS)
        text = [3, 5, 4, 7]  # abcb c
        assert scored(scorer, text) == pytest.approx(expected(model, words_of(text), least), abs=1e-4)


@pytest.mark.parametrize("method", ["beam_search", "modified_beam_search", "time_sync_beam_search"])
def test_every_hypothesis_has_the_score_of_its_whole_text(make_model, make_batch, method):
    model, batch = make_model(vocab=len(TOKENS), scale=1.0), make_batch([3, 2])
    words = estimate(SENTENCES, 3)
    options = {"beam_size": 2000, "max_sym_per_frame": 1, "nbest": 2000, "length_norm": False}
    plain = search(model, *batch, SearchConfig(method, **options))
    scorers = [(WordScorer(ArpaWords(words), TOKENS), 0.7)]
    found = search(model, *batch, SearchConfig(method, **options), scorers)
    for hypotheses, without in zip(found, plain):
        total = {h.tokens: h.score + 0.7 * expected(words, words_of(h.tokens)) for h in without}
        assert len(total) > 50
        assert {h.tokens: h.score for h in hypotheses} == pytest.approx(total, abs=1e-4)


class Recogniser:
    tokens, unk_id = TOKENS, 1


def test_it_is_read_from_a_file_and_bad_ones_are_named(tmp_path):
    arpa = tmp_path / "word-2gram.arpa"
    write_arpa(estimate(SENTENCES, 2), arpa)
    [(scorer, scale)] = load_scorers(FusionConfig(word_lm=str(arpa), word_lm_scale=0.4), Recogniser())
    assert scale == 0.4 and scored(scorer, [3, 7]) < 0
    with pytest.raises(UserError, match="lists its words itself"):
        read_word_model(str(arpa), "words.txt")
    with pytest.raises(UserError, match="can't read the word n-gram"):
        read_word_model(str(tmp_path / "none"))
    with pytest.raises(ValueError, match="--word-list goes with --word-lm"):
        FusionConfig(word_list="x")
    write_arpa(estimate([["AB", "C"]], 2), arpa)
    with pytest.raises(UserError, match="can't be written with the model's tokens.*upper or lower case"):
        load_scorers(FusionConfig(word_lm=str(arpa)), Recogniser())
    with pytest.raises(UserError, match="whole words or phones"):
        WordScorer(ArpaWords(estimate(SENTENCES, 1)), ["<blk>", "<unk>", "ab", "c"])


def test_a_binary_file_of_kenlm_needs_its_words(tmp_path, monkeypatch):
    path, words = tmp_path / "word.bin", tmp_path / "words.txt"
    path.write_bytes(b"mmap lm http://kheafield.com/code format version 5\n\x00")
    with pytest.raises(UserError, match="does not list its words; add --word-list"):
        read_word_model(str(path))
    words.write_text("ab\nc\n")
    with pytest.raises(UserError, match="kenlm"):  # is not installed, or can't read this
        read_word_model(str(path), str(words))


def test_kenlm_and_our_reader_agree(tmp_path):
    kenlm = pytest.importorskip("kenlm")
    arpa, words = tmp_path / "word.arpa", tmp_path / "words.txt"
    model = estimate(SENTENCES, 3)
    write_arpa(model, arpa)
    from rnnt.search.lm.words import KenlmWords

    binary = KenlmWords(kenlm.Model(str(arpa)), ["ab", "c", "a", "abc", "cab", "abb", "other"])
    assert "other" not in binary.words and words
    scorer = WordScorer(binary, TOKENS)
    for text in ([3, 7], [2, 4, 5], [2, 5, 5, 3], [6, 5, 2, 4]):
        assert scored(scorer, text) == pytest.approx(expected(model, words_of(text)), abs=1e-3)
    assert math.isfinite(scored(scorer, [1, 4]))
