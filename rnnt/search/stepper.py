"""The steps of a transducer: what its tokens so far mean for the next one.

That is the predictor's output and, with it, whatever else scores tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from rnnt.search.fusion import advance_where

if TYPE_CHECKING:
    from torch import Tensor

    from rnnt.search.config import SearchConfig
    from rnnt.search.fusion import Fusion


class Predictor(Protocol):
    """What a search needs of a predictor. A state is a tuple of tensors with the hypotheses first."""

    def start(self, batch: int, device: torch.device, /) -> Tensor:
        """The tokens (N,) that begin an utterance."""

    def initial_state(self, batch: int, device: torch.device, /) -> tuple[Tensor, ...]:
        """The state before the first token."""

    def step(self, token_N: Tensor, state: tuple[Tensor, ...], /) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Read one token per hypothesis; return g (N, D) and the new state."""


class Joiner(Protocol):
    """What a search needs of a joiner."""

    @property
    def encoder_dim(self) -> int: ...

    def project_encoder(self, h: Tensor, /) -> Tensor:
        """(..., D) -> (..., J)."""

    def project_predictor(self, g: Tensor, /) -> Tensor:
        """(..., D) -> (..., J)."""

    def logits(self, e: Tensor, p: Tensor, /) -> Tensor:
        """Projected encoder and predictor outputs, broadcast against each other -> (..., V)."""


class TransducerLike(Protocol):
    """What a search needs of a transducer."""

    @property
    def predictor(self) -> Predictor: ...

    @property
    def joiner(self) -> Joiner: ...

    @property
    def blank_id(self) -> int: ...

    @property
    def vocab_size(self) -> int: ...


@dataclass(frozen=True)
class HypothesisState:
    """The states of N hypotheses. All tensors have N first, so that indexing selects and repeats hypotheses."""

    p_NJ: Tensor  # projected output of the predictor
    predictor_state: tuple[Tensor, ...]
    fusion_NV: Tensor | None  # added to each token's log-probability, 0 for blank; None: nothing is added
    fusion_state: tuple[Tensor, ...]

    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors of the state."""
        fusion = () if self.fusion_NV is None else (self.fusion_NV,)
        return (self.p_NJ, *self.predictor_state, *fusion, *self.fusion_state)

    def replaced(self, tensors: Iterable[Tensor]) -> HypothesisState:
        """A state of these tensors, as `tensors` gives them."""
        p_NJ, *others = tensors
        count = len(self.predictor_state)
        predictor_state, fusion = tuple(others[:count]), others[count:]
        fusion_NV = None if self.fusion_NV is None else fusion.pop(0)
        return HypothesisState(p_NJ, predictor_state, fusion_NV, tuple(fusion))

    def __getitem__(self, index: Tensor | slice) -> HypothesisState:
        return self.replaced(part[index] for part in self.tensors())

    def interleave(self, other: HypothesisState, K: int) -> HypothesisState:
        """Per utterance K hypotheses of this state, then K of `other`."""

        def interleave_tensors(a: Tensor, b: Tensor) -> Tensor:
            return torch.cat((a.unflatten(0, (-1, K)), b.unflatten(0, (-1, K))), dim=1).flatten(0, 1)

        return self.replaced(map(interleave_tensors, self.tensors(), other.tensors()))

    def join(self, others: Sequence[HypothesisState]) -> HypothesisState:
        """The hypotheses of this state, then those of the others."""
        return self.replaced(map(torch.cat, zip(*(state.tensors() for state in (self, *others)))))


class Stepper:
    """Moves hypotheses on by a token and scores the next one.

    Args:
        model: a transducer.
        joiner: its joiner, perhaps prepared for many small products.
        config: blank penalty and temperature are applied to all logits.
        fusion: what is added to the scores of tokens, or None.
    """

    def __init__(
        self, model: TransducerLike, joiner: Joiner, config: SearchConfig, fusion: Fusion | None = None
    ) -> None:
        self.predictor = model.predictor
        self.blank_id = model.blank_id
        self.vocab_size = model.vocab_size
        self.joiner = joiner
        self.config = config
        self.fusion = fusion
        self._zero_J: Tensor | None = None

    def start(self, N: int, device: torch.device) -> HypothesisState:
        """The state of N utterances before their first token."""
        first_N, before = self.predictor.start(N, device), self.predictor.initial_state(N, device)
        g_ND, predictor_state = self.predictor.step(first_N, before)
        p_NJ = self.joiner.project_predictor(g_ND)
        fusion_NV, fusion_state = self.fusion.start(N, device) if self.fusion else (None, ())
        return HypothesisState(p_NJ, predictor_state, self._with_internal(fusion_NV, p_NJ), fusion_state)

    def step(self, state: HypothesisState, token_N: Tensor) -> HypothesisState:
        """The state after one more token per hypothesis."""
        g_ND, predictor_state = self.predictor.step(token_N, state.predictor_state)
        p_NJ = self.joiner.project_predictor(g_ND)
        fusion_NV, fusion_state = self.fusion.step(token_N, state.fusion_state) if self.fusion else (None, ())
        return HypothesisState(p_NJ, predictor_state, self._with_internal(fusion_NV, p_NJ), fusion_state)

    def advance(self, state: HypothesisState, token_N: Tensor, emits_N: Tensor) -> HypothesisState:
        """Step where `emits_N`; the other hypotheses stay as they are."""

        def step(token_N: Tensor, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return self.step(state.replaced(tensors), token_N).tensors()

        return state.replaced(advance_where(emits_N, token_N, state.tensors(), step))

    def _with_internal(self, fusion_NV: Tensor | None, p_NJ: Tensor) -> Tensor | None:
        """`fusion_NV`, and what the internal language model adds."""
        if not self.config.ilm_scale:
            return fusion_NV
        added_NV = self.config.ilm_scale * self.internal_log_probs(p_NJ)
        added_NV[:, self.blank_id] = 0.0
        return added_NV if fusion_NV is None else fusion_NV + added_NV

    def internal_log_probs(self, p_NJ: Tensor) -> Tensor:
        """Log-probabilities (N, V) of tokens, -inf of blank, by the predictor alone: the encoder's output is zero.

        Source: Meng et al., Internal language model estimation for domain-adaptive end-to-end speech recognition, 2021,
        https://arxiv.org/abs/2011.01991.
        """
        if self._zero_J is None:
            self._zero_J = self.joiner.project_encoder(p_NJ.new_zeros(self.joiner.encoder_dim))
        logits_NV = self.adjust(self.joiner.logits(self._zero_J, p_NJ).float()[:, : self.vocab_size])
        return logits_NV.index_fill(1, torch.tensor([self.blank_id], device=p_NJ.device), -torch.inf).log_softmax(dim=1)

    def logits(self, e: Tensor, p: Tensor) -> Tensor:
        """Logits (..., V) of the next token in single precision, with blank penalty and temperature.

        Args:
            e: projected encoder output (..., J).
            p: projected predictor output (..., J), broadcast against `e`.
        """
        return self.adjust(self.joiner.logits(e, p).float())

    def adjust(self, logits_V: Tensor) -> Tensor:
        """Logits (..., V) of tokens with blank penalty and temperature."""
        if self.config.blank_penalty:
            penalty_V = torch.zeros_like(logits_V[(0,) * (logits_V.ndim - 1)])
            penalty_V[self.blank_id] = self.config.blank_penalty
            logits_V = logits_V - penalty_V
        return logits_V if self.config.temperature == 1.0 else logits_V / self.config.temperature

    def log_probs(self, e: Tensor, p: Tensor) -> Tensor:
        """Log-probabilities (..., V) of the next token, from the same arguments as `logits`."""
        return self.logits(e, p).log_softmax(dim=-1)

    def final(self, state: HypothesisState) -> Tensor | None:
        """The score (N,) added when the utterance ends, or None."""
        return self.fusion.final(state.fusion_state) if self.fusion else None


def entropy_confidence(logp_V: Tensor) -> Tensor:
    """1 - H / log V for the entropy H of distributions (..., V) -> (...).

    Source: Laptev & Ginsburg 2022, https://arxiv.org/abs/2212.08703, Gibbs entropy with linear normalisation.
    """
    # The clamp makes 0 of 0 x log 0.
    entropy = -(logp_V.exp() * logp_V.clamp(min=-1e4)).sum(dim=-1)
    return (1 - entropy / math.log(max(logp_V.shape[-1], 2))).clamp(0, 1)
