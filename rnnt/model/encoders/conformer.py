"""The Conformer: self-attention for what is far apart, convolution for what is near."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from rnnt.model.batchnorm import MaskedBatchNorm
from rnnt.model.encoders.adapter import adapted, make_adapter
from rnnt.model.encoders.attention import RelativeAttention, distance_encoding
from rnnt.model.encoders.subsampling import ConvSubsampling
from rnnt.model.layers import FeedForward, Linear
from rnnt.model.masking import valid_mask

if TYPE_CHECKING:
    from rnnt.model.encoders.config import ConformerConfig


class ConvolutionModule(nn.Module):
    """Gated linear unit, convolution of each channel over time, batch normalisation over valid frames, SiLU, linear."""

    def __init__(self, dim: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.input = Linear(dim, 2 * dim)
        self.conv = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.norm = MaskedBatchNorm(dim)
        self.output = Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BTD: Tensor, valid_BT: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D); the convolution sees zeros past the end of an utterance."""
        x_BTD = F.glu(self.input(x_BTD), dim=-1) * valid_BT[..., None]
        x_BDT = self.norm(self.conv(x_BTD.transpose(1, 2)), valid_BT)
        return self.dropout(self.output(F.silu(x_BDT.transpose(1, 2))))


class ConformerLayer(nn.Module):
    """Half a feed-forward layer, attention, convolution, the other half; each normalises what it reads and is added."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        dim, dropout = config.encoder_dim, config.dropout
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(5))
        self.first = FeedForward(dim, config.feedforward_dim, dropout)
        self.attention = RelativeAttention(dim, config.attention_heads, dropout)
        self.attention_dropout = nn.Dropout(dropout)
        self.convolution = ConvolutionModule(dim, config.conv_kernel, dropout)
        self.second = FeedForward(dim, config.feedforward_dim, dropout)
        self.adapter = make_adapter(dim, config.adapter_dim)

    def forward(self, x_BTD: Tensor, distance_XD: Tensor, valid_BT: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        x_BTD = x_BTD + 0.5 * self.first(self.norms[0](x_BTD))
        x_BTD = x_BTD + self.attention_dropout(self.attention(self.norms[1](x_BTD), distance_XD, valid_BT))
        x_BTD = x_BTD + self.convolution(self.norms[2](x_BTD), valid_BT)
        x_BTD = x_BTD + 0.5 * self.second(self.norms[3](x_BTD))
        return adapted(self.norms[4](x_BTD), self.adapter)


class ConformerEncoder(nn.Module):
    """Convolution subsampling, then Conformer layers (Gulati et al. 2020, https://arxiv.org/abs/2005.08100).

    The complete utterance is read before the first output: not for streaming.
    """

    def __init__(self, config: ConformerConfig, num_features: int) -> None:
        super().__init__()
        self.dim = dim = config.encoder_dim
        self.subsampling = ConvSubsampling(num_features, config.subsampling_channels, dim, config.subsampling_factor)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(ConformerLayer(config) for _ in range(config.encoder_layers))

    def forward(self, x_BTF: Tensor, x_len_B: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, T, F), lengths (B,) int64 -> h (B, T', D), lengths (B,); h is zero on padding."""
        h_BTD, len_B = self.subsampling(x_BTF, x_len_B)
        T = h_BTD.shape[1]
        valid_BT = valid_mask(len_B, T)
        distance_XD = distance_encoding(T, self.dim, h_BTD.device)
        h_BTD = self.dropout(h_BTD)
        for layer in self.layers:
            h_BTD = layer(h_BTD, distance_XD, valid_BT)
        return h_BTD * valid_BT[..., None], len_B
