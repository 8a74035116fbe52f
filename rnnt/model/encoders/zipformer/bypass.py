"""Around layers and stacks: the learnt mean of what goes in and what comes out, and other frame rates."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnnt.model.regularisers.dropout import UtteranceDrop
from rnnt.model.regularisers.limits import limited
from rnnt.model.regularisers.schedule import Schedule, Scheduled

SMALLEST_SCALE = Schedule(((0.0, 0.9), (20000.0, 0.2)))


class Bypass(Scheduled):
    """x0 + scale (x - x0) with a learnt scale per channel.

    In training the scale is kept within a range that is narrow at first, so that all modules learn, and on some
    utterances it is 0.

    Args:
        dim: channels.
        skip_rate: fraction of the utterances on which the scale is 0.
    """

    def __init__(self, dim: int, skip_rate: Schedule | float = 0.0) -> None:
        super().__init__()
        self.bypass_scale = nn.Parameter(torch.full((dim,), 0.5))
        self.skip = UtteranceDrop(skip_rate)

    def forward(self, before_BTD: Tensor, x_BTD: Tensor) -> Tensor:
        """What went in and what came out, (B, T, D) each -> (B, T, D)."""
        scale: Tensor = self.bypass_scale
        if self.training:
            scale = limited(scale, self.now(SMALLEST_SCALE), 1.0)
            kept_B11 = self.skip.mask(before_BTD)
            scale = scale if kept_B11 is None else scale * kept_B11
        return torch.addcmul(before_BTD, x_BTD - before_BTD, scale)


class Downsample(nn.Module):
    """Weighted mean of each `factor` frames, with learnt weights: (B, T, D) -> (B, ceil(T / factor), D).

    The last frame of an utterance stands for those that are missing.
    """

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(factor))

    def forward(self, x_BTD: Tensor, len_B: Tensor) -> Tensor:
        """(B, T, D) and the lengths of the utterances."""
        B, T, D = x_BTD.shape
        factor = len(self.bias)
        padded = (T + factor - 1) // factor * factor
        index_BT = torch.arange(padded, device=x_BTD.device).minimum((len_B[:, None] - 1).clamp(min=0))
        x_BTD = x_BTD.gather(1, index_BT[..., None].expand(B, padded, D))
        return torch.einsum("btfd,f->btd", x_BTD.view(B, -1, factor, D), self.bias.softmax(0).to(x_BTD.dtype))


def upsample(x_BTD: Tensor, factor: int, T: int) -> Tensor:
    """Each frame `factor` times, the first `T` of them: (B, ceil(T / factor), D) -> (B, T, D)."""
    return x_BTD.repeat_interleave(factor, dim=1)[:, :T]


def with_channels(x_BTD: Tensor, dim: int) -> Tensor:
    """The first `dim` channels, zeros for those that are missing."""
    return F.pad(x_BTD, (0, dim - x_BTD.shape[2]))
