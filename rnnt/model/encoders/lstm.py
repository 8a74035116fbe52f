"""LSTM layers in one or both directions, and the encoder that adds each of them to what it reads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from rnnt.model.encoders.adapter import Adapter
from rnnt.model.encoders.streaming import State, Windows, chunk_windows
from rnnt.model.encoders.subsampling import ConvSubsampling
from rnnt.model.layers import TimeSharedDropout, init_lstm, lstm_state, stream_lstm
from rnnt.model.masking import reverse_valid, valid_mask

if TYPE_CHECKING:
    from rnnt.model.encoders.config import LSTMConfig


class BiLSTMLayer(nn.Module):
    """One LSTM layer in each direction. Each utterance is reversed within its own frames, so no packing is needed."""

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.forwards = nn.LSTM(in_dim, dim // 2, batch_first=True)
        self.backwards = nn.LSTM(in_dim, dim // 2, batch_first=True)
        init_lstm(self.forwards)
        init_lstm(self.backwards)

    def forward(self, x_BTD: Tensor, len_B: Tensor) -> Tensor:
        """(B, T, D) and the lengths -> (B, T, D)."""
        left_BTD = self.forwards(x_BTD)[0]
        right_BTD = reverse_valid(self.backwards(reverse_valid(x_BTD, len_B))[0], len_B)
        return torch.cat([left_BTD, right_BTD], dim=-1)


class LSTMLayer(nn.Module):
    """One LSTM layer that reads left to right."""

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(in_dim, dim, batch_first=True)
        init_lstm(self.lstm)

    def forward(self, x_BTD: Tensor, len_B: Tensor) -> Tensor:
        """(B, T, D) and the lengths -> (B, T, D)."""
        return self.lstm(x_BTD)[0]


class LSTMEncoder(nn.Module):
    """Convolution subsampling, then LSTM layers with dropout, each added to what it reads.

    The sums are what gets a small run off the all-blank plateau: a plain stack stays there hundreds of updates longer
    for each layer beyond the first (docs/training.md).
    """

    def __init__(self, config: LSTMConfig, num_features: int) -> None:
        super().__init__()
        self.config = config
        dim = config.encoder_dim
        self.subsampling = ConvSubsampling(num_features, config.subsampling_channels, dim, config.subsampling_factor)
        layer = BiLSTMLayer if config.encoder_bidirectional else LSTMLayer
        self.layers = nn.ModuleList(layer(dim, dim) for _ in range(config.encoder_layers))
        self.adapters = nn.ModuleList(Adapter(dim, config.adapter_dim) for _ in self.layers if config.adapter_dim)
        self.dropout = TimeSharedDropout(config.dropout)
        self.dim = dim

    def forward(self, x_BTF: Tensor, x_len_B: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, T, F), lengths (B,) int64 -> h (B, T', D), lengths (B,); h is zero on padding."""
        h_BTD, len_B = self.subsampling(x_BTF, x_len_B)
        for number, layer in enumerate(self.layers):
            h_BTD = self._adapted(h_BTD + self.dropout(layer(h_BTD, len_B)), number)
        return h_BTD * valid_mask(len_B, h_BTD.shape[1])[..., None], len_B

    def windows(self, chunk_frames: int = 0) -> Windows:
        """As `StreamingEncoder`."""
        if self.config.encoder_bidirectional:
            raise ValueError("an lstm encoder streams only if it was trained with --encoder-bidirectional false")
        return chunk_windows(chunk_frames, self.config.subsampling_factor)

    def init_state(self, batch: int) -> State:
        """As `StreamingEncoder`."""
        lstms = [part for layer in cast(Iterable[LSTMLayer], self.layers) for part in lstm_state(layer.lstm, batch)]
        return [*self.subsampling.init_state(batch), *lstms]

    def stream(self, x_BTF: Tensor, x_len_B: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """As `StreamingEncoder`."""
        first = len(state) - 2 * len(self.layers)
        h_BTD, len_B, kept = self.subsampling.stream(x_BTF, x_len_B, state[:first])
        for number, layer in enumerate(cast(Iterable[LSTMLayer], self.layers)):
            begin = first + 2 * number
            y_BTD, parts = stream_lstm(layer.lstm, h_BTD, state[begin : begin + 2])
            h_BTD, kept = self._adapted(h_BTD + y_BTD, number), kept + parts
        return h_BTD * valid_mask(len_B, h_BTD.shape[1])[..., None], len_B, kept

    def _adapted(self, h_BTD: Tensor, number: int) -> Tensor:
        """What comes out behind a layer."""
        return self.adapters[number](h_BTD) if self.adapters else h_BTD
