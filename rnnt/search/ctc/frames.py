"""What a head says of each frame: the counterpart of the transducer's `Stepper`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rnnt.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from rnnt.search.config import SearchConfig
    from rnnt.search.fusion import Fusion


class Head(Protocol):
    """What a search needs of a head."""

    def log_probs(self, h_BTD: Tensor, /) -> Tensor:
        """Encoder output (B, T, D) -> log-probabilities (B, T, V) of tokens and blank on each frame."""


@dataclass(frozen=True)
class FrameScores:
    """A head with what the options add to it.

    Attributes:
        head: of the model.
        config: blank penalty and temperature are applied to its scores.
        blank_id: of the model.
        vocab_size: of the model.
        fusion: what is added to the scores of tokens, or None.
    """

    head: Head
    config: SearchConfig
    blank_id: int
    vocab_size: int
    fusion: Fusion | None = None

    def log_probs(self, h_BTD: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, V) in single precision."""
        logp_BTV = self.head.log_probs(h_BTD).float()
        if not self.config.blank_penalty and self.config.temperature == 1.0:
            return logp_BTV
        penalty_V = logp_BTV.new_zeros(logp_BTV.shape[2])
        penalty_V[self.blank_id] = self.config.blank_penalty
        return ((logp_BTV - penalty_V) / self.config.temperature).log_softmax(dim=-1)

    def without_fusion(self) -> None:
        """Raise UserError where language models, hotwords or a length bonus are asked for: a path can't weigh them."""
        if self.fusion is not None:
            raise UserError(
                "--decoding-method ctc_greedy_search takes no language model, hotwords or length bonus; choose "
                "ctc_prefix_beam_search"
            )
