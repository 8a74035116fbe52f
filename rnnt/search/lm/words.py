"""Word n-gram models as scorers of tokens.

With words w_1 ... w_n of which the last is spelt only as far as its prefix q, a hypothesis has the score

    sum_{i<n} log p(w_i | w_<i) + look(q),    look(q) = max {log p(w) : w in the vocabulary, w begins with q}

so that a word has its share of the score from its first piece on, long before it is complete (look-ahead by unigrams,
as in decoders over a prefix tree: Ortmanns, Eiden and Ney, Improved lexical tree search for large vocabulary speech
recognition, 1998). When it is complete, look(q) is replaced by log p(w | history). A word outside the vocabulary is
`<unk>`. The prefix tree is a sorted list of words: those with a common prefix are neighbours. Words are compared by
their letters, so that it does not matter into which pieces a hypothesis divides them.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from rnnt.errors import UserError
from rnnt.text.ngram import BOS, EOS, LOG_ZERO, NgramModel
from rnnt.text.tokenizer import UNKNOWN, WORD_START

if TYPE_CHECKING:
    from torch import Tensor

LAST = "\U0010ffff"  # sorts after every letter
PREFIXES = 100_000  # whose scores of tokens are remembered; one has 4 bytes per token
NO_WORD = -1  # prefix of no word in the vocabulary
IMPOSSIBLE = LOG_ZERO * math.log(10) / 2  # models without a probability of `<unk>` write about LOG_ZERO


class WordModel(Protocol):
    """A model of words given those before."""

    @property
    def words(self) -> Sequence[str]:
        """The vocabulary, without `<s>`, `</s>` and `<unk>`."""

    def start(self) -> Any:
        """The history before the first word; histories are hashable."""

    def score(self, history: Any, word: str, /) -> tuple[float, Any]:
        """Natural logarithm of p(word | history), and the history after it."""

    def unigram(self, word: str, /) -> float:
        """Natural logarithm of p(word)."""


class ArpaWords:
    """The words of an ARPA file."""

    def __init__(self, model: NgramModel) -> None:
        self._model = model
        self.words = [gram[0] for gram in model.entries if len(gram) == 1 and gram[0] not in (BOS, EOS, UNKNOWN)]

    def start(self) -> tuple[str, ...]:
        return self._shortened((BOS,))

    def score(self, history: tuple[str, ...], word: str) -> tuple[float, tuple[str, ...]]:
        return self._model.log_prob(word, history), self._shortened((*history, word))

    def unigram(self, word: str) -> float:
        return self._model.log_prob(word)

    def _shortened(self, history: tuple[str, ...]) -> tuple[str, ...]:
        """As much of a history as the model can tell apart, so that there are no more of them than it has n-grams."""
        history = history[max(len(history) - self._model.order + 1, 0) :]
        while history and history not in self._model.entries:
            history = history[1:]
        return history


class KenlmWords:
    """The words of a binary file of KenLM, which does not list them.

    Args:
        model: a `kenlm.Model`.
        words: the vocabulary; words that the model does not know are left out.
    """

    def __init__(self, model: Any, words: Sequence[str]) -> None:
        import kenlm

        self._model, self._new = model, kenlm.State
        self.words = [word for word in words if word in model]
        self._empty = self._new()
        model.NullContextWrite(self._empty)

    def start(self) -> Hashable:
        state = self._new()
        self._model.BeginSentenceWrite(state)
        return state

    def score(self, history: Any, word: str) -> tuple[float, Any]:
        after = self._new()
        return self._model.BaseScore(history, word, after) * math.log(10), after

    def unigram(self, word: str) -> float:
        return self.score(self._empty, word)[0]


class WordScorer:
    """See `rnnt.search.fusion.Scorer`. The state: history (N,) and prefix (N,) as numbers, and scores (N, V).

    Args:
        model: of words.
        tokens: in the order of their ids; those that begin a word have SentencePiece's mark.
        name: of the model in errors.

    Raises:
        UserError: the tokens are no pieces of words, or none of the words can be written with them.
    """

    def __init__(self, model: WordModel, tokens: Sequence[str], name: str = "the word n-gram") -> None:
        self._model = model
        self._words = sorted(model.words)
        self._unigrams = np.array([model.unigram(word) for word in self._words])
        self._unknown = model.unigram(UNKNOWN)
        if self._unknown < IMPOSSIBLE:
            self._unknown = float(self._unigrams.min(initial=0.0))
        starts = [token.startswith(WORD_START) for token in tokens]
        if not any(starts):
            raise UserError(f"{name}: the model's tokens are whole words or phones; make an n-gram of them, for --lm")
        special = [token[0] == "<" and token[-1] == ">" and len(token) > 2 for token in tokens]
        self._pieces = [None if s else token.removeprefix(WORD_START) for token, s in zip(tokens, special)]
        self._starts_V = np.array(starts)
        if {word[0] for word in self._words}.isdisjoint(piece[0] for piece in self._pieces if piece):
            raise UserError(
                f"{name}: its words, such as {self._words[0] if self._words else 'none'!r}, can't be written with the "
                "model's tokens; write the text as the training transcripts are (upper or lower case)"
            )
        self._histories: list[Any] = []
        self._history_ids: dict[Any, int] = {}
        self._prefixes: list[str] = [""]
        self._prefix_ids: dict[str, int] = {"": 0}
        self._row = lru_cache(maxsize=PREFIXES)(self._row_of)
        self._end = lru_cache(maxsize=PREFIXES)(self._end_of)

    def initial_state(self, N: int, device: torch.device) -> tuple[Tensor, ...]:
        """The state before the first word, N times."""
        return self._state([(self._history_id(self._model.start()), 0)] * N, device)

    def scores(self, state: tuple[Tensor, ...]) -> Tensor:
        return state[2]

    def step(self, token_N: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        after = []
        for token, history, prefix in zip(token_N.tolist(), state[0].tolist(), state[1].tolist()):
            if self._starts_V[token]:
                history, prefix = self._end(history, prefix)[1], 0
            after.append((history, self._extended(prefix, token)))
        return self._state(after, token_N.device)

    def final(self, state: tuple[Tensor, ...]) -> Tensor:
        """What completes the last word; the end of the text is not scored."""
        pairs = zip(state[0].tolist(), state[1].tolist())
        return state[2].new_tensor([self._end(history, prefix)[0] for history, prefix in pairs])

    def _state(self, pairs: list[tuple[int, int]], device: torch.device) -> tuple[Tensor, ...]:
        rows = [self._row(q) + self._starts_V * np.float32(self._end(history, q)[0]) for history, q in pairs]
        scores_NV = torch.from_numpy(np.stack(rows)) if rows else torch.zeros(0, len(self._pieces))
        ids_N2 = torch.tensor(pairs, dtype=torch.int64).view(-1, 2)
        return ids_N2[:, 0].to(device), ids_N2[:, 1].to(device), scores_NV.to(device)

    def _row_of(self, prefix: int) -> np.ndarray:
        """(V,) what each token adds: for one that begins a word look-ahead, else the change of it."""
        row_V = np.zeros(len(self._pieces), dtype=np.float32)
        before = self._look(prefix)
        for v, piece in enumerate(self._pieces):
            if self._starts_V[v]:
                row_V[v] = self._look(self._extended(0, v))
            elif piece != "":
                row_V[v] = self._look(self._extended(prefix, v)) - before
        return row_V

    def _end_of(self, history: int, prefix: int) -> tuple[float, int]:
        """What is added when a word is complete, and the history after it."""
        if prefix == 0:
            return 0.0, history
        word = UNKNOWN if prefix == NO_WORD else self._prefixes[prefix]
        place = bisect_left(self._words, word)
        if word not in self._words[place : place + 1]:
            word = UNKNOWN
        score, after = self._model.score(self._histories[history], word)
        if score < IMPOSSIBLE:
            score = self._unknown
        return score - self._look(prefix), self._history_id(after)

    def _extended(self, prefix: int, token: int) -> int:
        """The prefix after one more token."""
        piece = self._pieces[token]
        if prefix == NO_WORD or piece is None:
            return NO_WORD
        text = self._prefixes[prefix] + piece
        if text not in self._prefix_ids:
            first, end = self._range(text)
            if first == end:
                return NO_WORD
            self._prefix_ids[text] = len(self._prefixes)
            self._prefixes.append(text)
        return self._prefix_ids[text]

    def _range(self, prefix: str) -> tuple[int, int]:
        """First and end of the words that begin with a prefix."""
        return bisect_left(self._words, prefix), bisect_left(self._words, prefix + LAST)

    def _look(self, prefix: int) -> float:
        if prefix == 0:
            return 0.0
        if prefix == NO_WORD:
            return self._unknown
        first, end = self._range(self._prefixes[prefix])
        return float(self._unigrams[first:end].max())

    def _history_id(self, history: Any) -> int:
        if history not in self._history_ids:
            self._history_ids[history] = len(self._histories)
            self._histories.append(history)
        return self._history_ids[history]
