"""Fewer frames: by strided convolutions, or by joining neighbours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnnt.model.batchnorm import MaskedBatchNorm
from rnnt.model.encoders.streaming import State
from rnnt.model.layers import Linear
from rnnt.model.masking import ceil_div, valid_mask


def stack_frames(x_BTD: Tensor, factor: int) -> Tensor:
    """Join each `factor` frames into one: (B, T, D) -> (B, ceil(T / factor), factor x D), zeros for what is missing."""
    if factor == 1:
        return x_BTD
    x_BTD = F.pad(x_BTD, (0, 0, 0, -x_BTD.shape[1] % factor))
    return x_BTD.reshape(x_BTD.shape[0], -1, factor * x_BTD.shape[2])


class ConvSubsampling(nn.Module):
    """Convolutions of stride 2 in time and frequency with ReLU, then a linear layer; batch normalisation after each."""

    def __init__(self, num_features: int, channels: int, dim: int, factor: int) -> None:
        super().__init__()
        self.num_features = num_features
        self.convs = nn.ModuleList()
        self.norms = nn.ModuleList()
        bins, in_channels = num_features, 1
        while factor > 1:
            # Padding 1 keeps ceil(T / 2) frames and sees the same zeros after an utterance, whoever pads.
            self.convs.append(nn.Conv2d(in_channels, channels, kernel_size=3, stride=2, padding=1))
            self.norms.append(MaskedBatchNorm(channels))
            bins, in_channels, factor = (bins + 1) // 2, channels, factor // 2
        self.out = Linear(channels * bins, dim)
        self.out_norm = MaskedBatchNorm(dim)

    def forward(self, x_BTF: Tensor, x_len_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return h (B, ceil(T / factor), D) and its lengths."""
        len_B = x_len_B
        x_BCTF = x_BTF[:, None]
        for conv, norm in zip(self.convs, self.norms):
            x_BCTF = conv(x_BCTF)
            len_B = ceil_div(len_B, 2)
            x_BCTF = norm(x_BCTF, valid_mask(len_B, x_BCTF.shape[2])).relu()
        return self._project(x_BCTF, len_B), len_B

    def init_state(self, batch: int) -> State:
        """For each convolution the last frame of its input, (B, C, 1, F)."""
        state: State = []
        bins = self.num_features
        for conv in cast(Iterable[nn.Conv2d], self.convs):
            state.append(conv.weight.new_zeros(batch, conv.in_channels, 1, bins))
            bins = (bins + 1) // 2
        return state

    def stream(self, x_BTF: Tensor, x_len_B: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """As `forward` for the next T frames, a multiple of `factor`, and the state behind them."""
        len_B, kept = x_len_B, []
        x_BCTF = x_BTF[:, None]
        convs = cast(Iterable[nn.Conv2d], self.convs)
        for conv, norm, before_BC1F in zip(convs, self.norms, state):
            x_BCTF = torch.cat([before_BC1F, x_BCTF], dim=2)
            kept.append(x_BCTF[:, :, -1:])
            x_BCTF = F.conv2d(x_BCTF, conv.weight, conv.bias, stride=2, padding=(0, 1))
            len_B = ceil_div(len_B, 2)
            x_BCTF = norm(x_BCTF, valid_mask(len_B, x_BCTF.shape[2])).relu()
        return self._project(x_BCTF, len_B), len_B, kept

    def _project(self, x_BCTF: Tensor, len_B: Tensor) -> Tensor:
        h_BTD = self.out(x_BCTF.transpose(1, 2).flatten(2))
        return self.out_norm(h_BTD.transpose(1, 2), valid_mask(len_B, h_BTD.shape[1])).transpose(1, 2)
