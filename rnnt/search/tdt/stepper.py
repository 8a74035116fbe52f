"""The joiner of a token-and-duration transducer: one product for tokens and durations."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from rnnt.search.stepper import Stepper, TransducerLike

if TYPE_CHECKING:
    from torch import Tensor

    from rnnt.search.config import SearchConfig
    from rnnt.search.fusion import Fusion


class DurationStepper(Stepper):
    """A `Stepper` that scores durations, too.

    Args:
        model: a transducer.
        joiner: its joiner with the rows of the durations, from `joiner_with_durations`, perhaps packed.
        durations: in frames, in the order of these rows.
        config: blank penalty and temperature are applied to the logits of tokens, not to those of durations.
        fusion: what is added to the scores of tokens, or None.
    """

    def __init__(
        self,
        model: TransducerLike,
        joiner: Any,
        durations: list[int],
        config: SearchConfig,
        fusion: Fusion | None = None,
    ) -> None:
        super().__init__(model, joiner, config, fusion)
        self.longest = max(durations)
        self._frames_D = torch.tensor(durations)
        self._is_zero_D = self._frames_D == 0

    def both_logits(self, e: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (..., V) of the next token, as `logits`, and (..., D) of its duration."""
        both = self.joiner.logits(e, p).float()
        return self.adjust(both[..., : self.vocab_size]), both[..., self.vocab_size :]

    def frames(self, device: torch.device) -> Tensor:
        """(D,) the durations."""
        if self._frames_D.device != device:
            self._frames_D, self._is_zero_D = self._frames_D.to(device), self._is_zero_D.to(device)
        return self._frames_D

    def best_durations(self, logits: Tensor, is_blank: Tensor) -> tuple[Tensor, Tensor]:
        """From logits (..., D) the best duration (...) in frames and its log-probability; a blank lasts at least one.

        Args:
            logits: of the durations.
            is_blank: (...) where the duration is that of a blank.
        """
        frames_D = self.frames(logits.device)
        logp = logits.log_softmax(dim=-1)
        best, number = logp.masked_fill_(is_blank[..., None] & self._is_zero_D, -torch.inf).max(dim=-1)
        return frames_D[number], best


def joiner_with_durations(joiner: Any, head: Any) -> Any:
    """A copy of a joiner whose output layer has the rows of `head.duration_output` behind its own."""
    changed = copy.copy(joiner)
    layers = joiner.output, head.duration_output
    output = nn.Linear(layers[0].in_features, sum(layer.out_features for layer in layers), device="meta")
    output.weight = nn.Parameter(torch.cat([layer.weight for layer in layers]), requires_grad=False)
    output.bias = nn.Parameter(torch.cat([layer.bias for layer in layers]), requires_grad=False)
    changed._modules = {**joiner._modules, "output": output}
    return changed
