"""The scorers that the options name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rnnt.checkpoints.language_model import load_language_model
from rnnt.errors import UserError, one_line
from rnnt.search.hotwords import hotword_scorer
from rnnt.search.lm.neural import NeuralScorer
from rnnt.search.lm.words import ArpaWords, KenlmWords, WordScorer
from rnnt.search.ngram import ngram_scorer
from rnnt.text.lines import read_lines
from rnnt.text.ngram import read_arpa

KENLM_BINARY = b"mmap lm http://kheafield.com/code"  # what its files begin with

if TYPE_CHECKING:
    from rnnt.search.config import FusionConfig
    from rnnt.search.fusion import Scorer
    from rnnt.search.lm.words import WordModel


class TokenizerLike(Protocol):
    """What scorers need of a tokenizer."""

    @property
    def tokens(self) -> list[str]: ...

    @property
    def unk_id(self) -> int: ...

    def encode(self, text: str, /) -> list[int]: ...


def load_scorers(config: FusionConfig, tokenizer: TokenizerLike) -> list[tuple[Scorer, float]]:
    """The scorers of the configured language models and hotwords, each with its weight."""
    scorers: list[tuple[Scorer, float]] = []
    for path, scale in ((config.lm, config.lm_scale), (config.lodr_lm, config.ngram_lm_scale)):
        if path:
            scorers.append((ngram_scorer(read_arpa(path), tokenizer.tokens, path), scale))
    if config.word_lm:
        words = read_word_model(config.word_lm, config.word_list)
        scorers.append((WordScorer(words, tokenizer.tokens, config.word_lm), config.word_lm_scale))
    if config.nn_lm:
        scorers.append((neural_scorer(config.nn_lm, tokenizer), config.neural_scale))
    if config.context_file:
        phrases = read_phrases(config.context_file, config.context_score, tokenizer)
        scorers.append((hotword_scorer(phrases, len(tokenizer.tokens)), 1.0))
    return scorers


def neural_scorer(folder: str, tokenizer: TokenizerLike) -> NeuralScorer:
    """The scorer of a language model.

    Args:
        folder: see `load_language_model`.
        tokenizer: of the recogniser.

    Raises:
        UserError: there is no language model, or it is over other tokens.
    """
    trained = load_language_model(folder)
    if trained.tokenizer.tokens != tokenizer.tokens:
        raise UserError(
            f"{folder}: over {trained.config.vocab_size} tokens that are not the {len(tokenizer.tokens)} of the "
            "recogniser; train one with its bpe.model"
        )
    return NeuralScorer(trained.network)


def read_word_model(path: str, word_list: str = "") -> WordModel:
    """The word n-gram of an ARPA file, or of a binary file of KenLM with a list of its words.

    Raises:
        UserError: it can't be read, kenlm is not installed, or the list is missing.
    """
    try:
        with open(path, "rb") as file:
            is_binary = file.read(len(KENLM_BINARY)) == KENLM_BINARY
    except OSError as error:
        raise UserError(f"{path}: can't read the word n-gram: {error.strerror}") from None
    if not is_binary:
        if word_list:
            raise UserError(f"--word-list: {path} is no binary file of KenLM and lists its words itself; leave it out")
        return ArpaWords(read_arpa(path))
    if not word_list:
        raise UserError(f"{path}: a binary file of KenLM does not list its words; add --word-list, one per line")
    try:
        import kenlm
    except ImportError:
        raise UserError(
            f"{path}: reading it needs the package kenlm: pip install kenlm, or give the ARPA file"
        ) from None
    try:
        model = kenlm.Model(path)
    except (OSError, RuntimeError) as error:
        raise UserError(f"{path}: kenlm can't read it: {one_line(error)}") from None
    return KenlmWords(model, [line.split()[0] for _, line in read_lines(word_list)])


def read_phrases(path: str | Path, bonus: float, tokenizer: TokenizerLike) -> list[tuple[tuple[int, ...], float]]:
    """Read a file of hotwords. A phrase that the tokenizer can't write is left out with a warning.

    Args:
        path: one phrase per line, perhaps followed by ` :BONUS`.
        bonus: per token, of phrases without their own.
        tokenizer: turns phrases into tokens.

    Returns:
        Pairs of tokens and bonus per token.

    Raises:
        UserError: when the file can't be read, or a bonus is not a number.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UserError(f"{path}: can't read the hotwords: {reason}") from None
    phrases = []
    for number, line in enumerate(lines, 1):
        text, mark, own = line.rpartition(" :")
        try:
            own_bonus = float(own) if mark else bonus
        except ValueError:
            raise UserError(f"{path}: line {number}: {own!r} is not a number; write `PHRASE :BONUS`") from None
        phrases.append((text if mark else line, own_bonus, f"{path}: line {number}"))
    return make_phrases(phrases, tokenizer)


def make_phrases(
    phrases: Iterable[tuple[str, float, str]], tokenizer: TokenizerLike
) -> list[tuple[tuple[int, ...], float]]:
    """Pairs of tokens and bonus of `(phrase, bonus, location)`; one that can't be written is left out, named."""
    found = []
    for phrase, bonus, location in phrases:
        text = " ".join(phrase.split())
        if not text:
            continue
        tokens = tokenizer.encode(text)
        if tokenizer.unk_id in tokens:
            print(
                f"warning: {location}: {text!r:.100} is not used: it has characters that the tokens don't know; write "
                "it as the training transcripts do",
                flush=True,
            )
            continue
        found.append((tuple(tokens), bonus))
    return found
