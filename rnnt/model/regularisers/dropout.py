"""Dropout whose rate follows a schedule: of channels, and of the whole contribution of a part of the network."""

from __future__ import annotations

from torch import Tensor

from rnnt.model.regularisers import chance
from rnnt.model.regularisers.schedule import Schedule, Scheduled


class ScheduledDropout(Scheduled):
    """Dropout that drops the same channels of an utterance at all frames; the kept ones grow to keep the mean."""

    def __init__(self, rate: Schedule | float) -> None:
        super().__init__()
        self.rate = rate

    def mask(self, x_BTD: Tensor) -> Tensor | None:
        """What x is multiplied by, (B, 1, D); None where nothing is dropped."""
        rate = self.now(self.rate) if self.training else 0.0
        if rate == 0:
            return None
        B, _, D = x_BTD.shape
        return chance.kept((B, 1, D), rate, x_BTD).div_(1 - rate)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        mask_B1D = self.mask(x_BTD)
        return x_BTD if mask_B1D is None else x_BTD * mask_B1D


class UtteranceDrop(Scheduled):
    """Leaves out a part's contribution to some utterances of a batch; the others' does not grow."""

    def __init__(self, rate: Schedule | float) -> None:
        super().__init__()
        self.rate = rate

    def mask(self, x: Tensor) -> Tensor | None:
        """Ones and zeros (B, 1, ..., 1) for x (B, ...); None where nothing is left out."""
        rate = self.now(self.rate) if self.training else 0.0
        return None if rate == 0 else chance.kept((x.shape[0], *[1] * (x.dim() - 1)), rate, x)

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> the same."""
        mask = self.mask(x)
        return x if mask is None else x * mask
