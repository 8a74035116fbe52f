"""Scores from outside the transducer that are added to those of tokens: language models, hotwords, a length bonus.

`Scorer` is the interface. `TableScorer` implements it for finite automata, `rnnt.search.lm.neural.NeuralScorer` for
neural language models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

import torch

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from rnnt.search.config import SearchConfig

# Dense tables up to this size; a 3-gram over 500 tokens of 1000 h of speech has about 0.5 GB.
MOST_BYTES = 2 * 2**30


State = tuple["Tensor", ...]


def advance_where(emits_N: Tensor, token_N: Tensor, state: State, step: Callable[[Tensor, State], State]) -> State:
    """`step(token_N, state)` where `emits_N`; the other rows of the state stay as they are."""
    if token_N.device.type == "cpu":
        # Few emit at a time, and each step costs time.
        rows = torch.nonzero(emits_N).flatten()
        if not len(rows):
            return state
        after = step(token_N[rows], tuple(part[rows] for part in state))
        return tuple(old.index_copy(0, rows, new) for old, new in zip(state, after))
    # On a GPU asking how many emit would cost more than stepping all.
    after = step(token_N, state)
    return tuple(torch.where(emits_N.view(-1, *[1] * (n.ndim - 1)), n, o) for o, n in zip(state, after))


class Scorer(Protocol):
    """Scores the tokens of N hypotheses. A state is a tuple of tensors with N first."""

    def initial_state(self, N: int, device: torch.device, /) -> tuple[Tensor, ...]:
        """The state before the first token."""

    def scores(self, state: tuple[Tensor, ...], /) -> Tensor:
        """(N, V): natural logarithms, or any bonus, of each next token."""

    def step(self, token_N: Tensor, state: tuple[Tensor, ...], /) -> tuple[Tensor, ...]:
        """The state after one more token per hypothesis."""

    def final(self, state: tuple[Tensor, ...], /) -> Tensor:
        """(N,): added when the utterance ends."""


class TableScorer:
    """A deterministic automaton as dense tables: next state and score per state and token.

    Args:
        start: the state before the first token.
        next_SV: the state after each token.
        score_SV: the score of each token.
        final_S: the score of an utterance that ends in each state.
    """

    def __init__(
        self,
        start: int,
        next_SV: np.ndarray | Tensor,
        score_SV: np.ndarray | Tensor,
        final_S: np.ndarray | Tensor,
    ) -> None:
        self.start_state = start
        self._next_SV = torch.as_tensor(next_SV, dtype=torch.int32)
        self._score_SV = torch.as_tensor(score_SV, dtype=torch.float32)
        self._final_S = torch.as_tensor(final_S, dtype=torch.float32)

    def initial_state(self, N: int, device: torch.device) -> tuple[Tensor, ...]:
        """The start state, N times; moves the tables to the device."""
        self._next_SV, self._score_SV, self._final_S = (
            x.to(device) for x in (self._next_SV, self._score_SV, self._final_S)
        )
        return (torch.full((N,), self.start_state, dtype=torch.int64, device=device),)

    def scores(self, state: tuple[Tensor, ...]) -> Tensor:
        return self._score_SV[state[0]]

    def step(self, token_N: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (self._next_SV[state[0], token_N].long(),)

    def final(self, state: tuple[Tensor, ...]) -> Tensor:
        return self._final_S[state[0]]


class Fusion:
    """The weighted sum of scorers, and a bonus for every token.

    Args:
        scorers: pairs of scorer and weight.
        length_bonus: added to each token.
        blank_id: its score is never changed.
    """

    def __init__(self, scorers: Sequence[tuple[Scorer, float]], length_bonus: float, blank_id: int) -> None:
        self._scorers = scorers
        self._length_bonus = length_bonus
        self._blank_id = blank_id
        self._sizes: list[int] = []  # tensors in the state of each scorer

    def start(self, N: int, device: torch.device) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The scores (N, V) of the first token, and the state: one flat tuple of the states of all scorers."""
        return self._scored([scorer.initial_state(N, device) for scorer, _ in self._scorers])

    def step(self, token_N: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The scores (N, V) of the next token, and the state."""
        parts = zip(self._scorers, self._split(state))
        return self._scored([scorer.step(token_N, part) for (scorer, _), part in parts])

    def final(self, state: tuple[Tensor, ...]) -> Tensor:
        """The sum (N,) of the final scores."""
        parts = zip(self._scorers, self._split(state))
        return _sum(scale * scorer.final(part) for (scorer, scale), part in parts)

    def _scored(self, states: list[tuple[Tensor, ...]]) -> tuple[Tensor, tuple[Tensor, ...]]:
        fusion_NV = _sum(scale * scorer.scores(part) for (scorer, scale), part in zip(self._scorers, states))
        fusion_NV = fusion_NV + self._length_bonus
        fusion_NV[:, self._blank_id] = 0.0
        self._sizes = [len(part) for part in states]
        return fusion_NV, tuple(tensor for part in states for tensor in part)

    def _split(self, state: tuple[Tensor, ...]) -> list[tuple[Tensor, ...]]:
        parts, start = [], 0
        for size in self._sizes:
            parts.append(state[start : start + size])
            start += size
        return parts


def _sum(tensors: Iterable[Tensor]) -> Tensor:
    return sum(tensors, start=torch.zeros(()))


def make_fusion(
    scorers: Iterable[tuple[Scorer, float]], config: SearchConfig, vocab_size: int, blank_id: int
) -> Fusion | None:
    """The `Fusion` of (scorer, weight) pairs and the configured length bonus, or None when there is nothing to add."""
    scorers = list(scorers)
    if not scorers and not config.length_bonus:
        return None
    V = vocab_size
    nothing = TableScorer(0, torch.zeros(1, V), torch.zeros(1, V), torch.zeros(1))
    return Fusion(scorers or [(nothing, 1.0)], config.length_bonus, blank_id)
