"""Scores of complete texts by the language models that the options name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch.nn.utils.rnn import pad_sequence

from rnnt.checkpoints.language_model import load_language_model
from rnnt.data.plan import cut_batches
from rnnt.errors import UserError
from rnnt.search.scorers import read_word_model
from rnnt.text.ngram import EOS, read_arpa
from rnnt.text.tokenizer import WORD_START

if TYPE_CHECKING:
    import numpy as np

    from rnnt.model.language.base import LanguageModel
    from rnnt.search.config import FusionConfig

Tokens = tuple[str, ...]
TOKENS_AT_ONCE = 8000
# The option of each model, and that of its weight.
WEIGHTS = {"lm": "lm_scale", "word_lm": "word_lm_scale", "lodr_lm": "ngram_lm_scale", "nn_lm": "nn_lm_scale"}


def text_scorers(fusion: FusionConfig, device: torch.device) -> dict[str, Callable[[Sequence[Tokens]], list[float]]]:
    """`{option: texts -> log-probabilities, the end of the text included}` of the models that are given.

    Raises:
        UserError: one can't be read, or nothing is given.
    """
    found: dict[str, Callable[[Sequence[Tokens]], list[float]]] = {}
    for name in ("lm", "lodr_lm"):
        path = getattr(fusion, name)
        if path:
            found[name] = _ngram(path)
    if fusion.word_lm:
        found["word_lm"] = _words(fusion.word_lm, fusion.word_list)
    if fusion.nn_lm:
        found["nn_lm"] = _neural(fusion.nn_lm, device)
    if fusion.context_file:
        raise UserError("--context-file: hotwords are for the search; leave it out")
    if not found:
        raise UserError("no language model is given; add --nn-lm or --lm")
    return found


def _ngram(path: str) -> Callable[[Sequence[Tokens]], list[float]]:
    model = read_arpa(path)

    def scores(texts: Sequence[Tokens]) -> list[float]:
        _check_known({token for text in texts for token in text}, {gram[0] for gram in model.entries}, path)
        return [model.score(text) for text in texts]

    return scores


def _words(path: str, word_list: str) -> Callable[[Sequence[Tokens]], list[float]]:
    model = read_word_model(path, word_list)

    def score(tokens: Tokens) -> float:
        history, total = model.start(), 0.0
        for word in (*"".join(tokens).replace(WORD_START, " ").split(), EOS):
            logp, history = model.score(history, word)
            total += logp
        return total

    return lambda texts: [score(tokens) for tokens in texts]


def _neural(folder: str, device: torch.device) -> Callable[[Sequence[Tokens]], list[float]]:
    trained = load_language_model(folder)
    ids = {token: i for i, token in enumerate(trained.tokenizer.tokens)}
    network = trained.network.to(device)

    def scores(texts: Sequence[Tokens]) -> list[float]:
        _check_known({token for text in texts for token in text}, set(ids), folder)
        return neural_scores(network, [[ids[token] for token in text] for text in texts], device)

    return scores


def _check_known(tokens: set[str], known: set[str], where: str) -> None:
    foreign = sorted(token for token in tokens - known if not token.startswith("<"))
    if foreign:
        raise UserError(f"{where}: knows no token {foreign[0]!r}; it was made with another BPE model")


@torch.inference_mode()
def neural_scores(network: LanguageModel, texts: Sequence[Sequence[int]], device: torch.device) -> list[float]:
    """The log-probability of each text, its end included, in batches of texts of similar length."""
    lengths: np.ndarray = torch.tensor([len(text) for text in texts], dtype=torch.float64).numpy() + 1
    found = [0.0] * len(texts)
    for batch in cut_batches((-lengths).argsort(kind="stable"), lengths, TOKENS_AT_ONCE):
        tokens = [torch.tensor(texts[i], dtype=torch.int64) for i in batch]
        y_BS = pad_sequence(tokens, batch_first=True).to(device)
        scores_BU = network.token_scores(y_BS, torch.tensor([len(one) for one in tokens]))
        for i, score in zip(batch, scores_BU.double().sum(dim=1).tolist()):
            found[i] = score
    return found
