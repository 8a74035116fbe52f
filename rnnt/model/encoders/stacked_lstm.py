"""The encoder of MLPerf Training's RNN-T: plain LSTM layers that join frames twice, without convolutions or sums."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from rnnt.model.encoders.streaming import State, Windows, chunk_windows
from rnnt.model.encoders.subsampling import stack_frames
from rnnt.model.layers import init_lstm_uniform, lstm_state, stream_lstm
from rnnt.model.masking import ceil_div, valid_mask

TIME_STACK = 2  # frames joined between the two stacks of layers

if TYPE_CHECKING:
    from rnnt.model.encoders.config import StackedLSTMConfig


class StackedLSTMEncoder(nn.Module):
    """Frames joined, LSTM layers, frames joined by two, more LSTM layers; dropout after each layer.

    `subsampling_factor` input frames make one of the output, half of them before the first layer. Layers read left to
    right, so padding needs a mask only where frames are joined. A stack this plain stays on the all-blank plateau for
    a thousand updates and more before it learns.

    Source: the MLPerf training reference of RNN-T (He et al. 2019, https://arxiv.org/abs/1811.06621).
    """

    def __init__(self, config: StackedLSTMConfig, num_features: int) -> None:
        super().__init__()
        self.config = config
        self.frame_stack = config.subsampling_factor // TIME_STACK
        self.dim = dim = config.encoder_dim
        layers = config.layers_before_stacking, config.encoder_layers - config.layers_before_stacking
        self.pre_rnn = self._stack(num_features * self.frame_stack, layers[0], config)
        self.post_rnn = self._stack(dim * TIME_STACK, layers[1], config)
        self.dropout = nn.Dropout(config.dropout)

    @staticmethod
    def _stack(in_dim: int, layers: int, config: StackedLSTMConfig) -> nn.LSTM:
        between = config.dropout if layers > 1 else 0.0
        lstm = nn.LSTM(in_dim, config.encoder_dim, num_layers=layers, dropout=between, batch_first=True)
        init_lstm_uniform(lstm, config.lstm_init_scale)
        return lstm

    def forward(self, x_BTF: Tensor, x_len_B: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, T, F), zero on padding, lengths (B,) int64 -> h (B, T', D), lengths (B,); h is zero on padding."""
        h_BTD, len_B = stack_frames(x_BTF, self.frame_stack), ceil_div(x_len_B, self.frame_stack)
        h_BTD = self.dropout(self.pre_rnn(h_BTD)[0]) * valid_mask(len_B, h_BTD.shape[1])[..., None]
        h_BTD, len_B = stack_frames(h_BTD, TIME_STACK), ceil_div(len_B, TIME_STACK)
        return self.dropout(self.post_rnn(h_BTD)[0]) * valid_mask(len_B, h_BTD.shape[1])[..., None], len_B

    def windows(self, chunk_frames: int = 0) -> Windows:
        """As `StreamingEncoder`."""
        return chunk_windows(chunk_frames, self.frame_stack * TIME_STACK)

    def init_state(self, batch: int) -> State:
        """As `StreamingEncoder`."""
        return [*lstm_state(self.pre_rnn, batch), *lstm_state(self.post_rnn, batch)]

    def stream(self, x_BTF: Tensor, x_len_B: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """As `StreamingEncoder`."""
        h_BTD, len_B = stack_frames(x_BTF, self.frame_stack), ceil_div(x_len_B, self.frame_stack)
        h_BTD, before = stream_lstm(self.pre_rnn, h_BTD, state[:2])
        h_BTD = h_BTD * valid_mask(len_B, h_BTD.shape[1])[..., None]
        h_BTD, len_B = stack_frames(h_BTD, TIME_STACK), ceil_div(len_B, TIME_STACK)
        h_BTD, behind = stream_lstm(self.post_rnn, h_BTD, state[2:])
        return h_BTD * valid_mask(len_B, h_BTD.shape[1])[..., None], len_B, before + behind
