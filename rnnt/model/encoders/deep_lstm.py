"""An LSTM encoder of many layers: each is normalised, projected, followed by a feed-forward layer, and added."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from torch import Tensor, nn

from rnnt.model.encoders.adapter import adapted, make_adapter
from rnnt.model.encoders.streaming import State, Windows, chunk_windows
from rnnt.model.encoders.subsampling import ConvSubsampling
from rnnt.model.layers import FeedForward, TimeSharedDropout, init_lstm_uniform, lstm_state, stream_lstm
from rnnt.model.masking import valid_mask

if TYPE_CHECKING:
    from rnnt.model.encoders.config import DeepLSTMConfig


class DeepLSTMLayer(nn.Module):
    """x + LSTM(norm x), then x + feed-forward(norm x). The LSTM's cells are projected to the width of the encoder.

    Projection: Sak et al. 2014, https://arxiv.org/abs/1402.1128.
    """

    def __init__(self, config: DeepLSTMConfig) -> None:
        super().__init__()
        dim, hidden = config.encoder_dim, config.encoder_hidden_dim
        self.lstm_norm = nn.LayerNorm(dim)
        self.lstm = nn.LSTM(dim, hidden, proj_size=dim, batch_first=True)
        init_lstm_uniform(self.lstm, scale=1.0)
        self.dropout = TimeSharedDropout(config.dropout)
        self.feed_forward_norm = nn.LayerNorm(dim)
        self.feed_forward = FeedForward(dim, config.feedforward_dim, config.dropout)
        self.adapter = make_adapter(dim, config.adapter_dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        return self._feed_forward(x_BTD + self.dropout(self.lstm(self.lstm_norm(x_BTD))[0]))

    def stream(self, x_BTD: Tensor, state: State) -> tuple[Tensor, State]:
        """The same behind what made `state`, and the state behind it."""
        y_BTD, state = stream_lstm(self.lstm, self.lstm_norm(x_BTD), state)
        return self._feed_forward(x_BTD + y_BTD), state

    def _feed_forward(self, x_BTD: Tensor) -> Tensor:
        return adapted(x_BTD + self.feed_forward(self.feed_forward_norm(x_BTD)), self.adapter)


class DeepLSTMEncoder(nn.Module):
    """Convolution subsampling, then layers that read left to right, then a last normalisation.

    With 12 layers of 512 and 1024 cells the size of icefall's LSTM transducer. Plain layers of that depth do not
    converge; sums and normalisation are what makes them.
    """

    def __init__(self, config: DeepLSTMConfig, num_features: int) -> None:
        super().__init__()
        self.config = config
        self.dim = dim = config.encoder_dim
        self.subsampling = ConvSubsampling(num_features, config.subsampling_channels, dim, config.subsampling_factor)
        self.layers = nn.ModuleList(DeepLSTMLayer(config) for _ in range(config.encoder_layers))
        self.norm = nn.LayerNorm(dim)

    def forward(self, x_BTF: Tensor, x_len_B: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, T, F), lengths (B,) int64 -> h (B, T', D), lengths (B,); h is zero on padding."""
        h_BTD, len_B = self.subsampling(x_BTF, x_len_B)
        for layer in self.layers:
            h_BTD = layer(h_BTD)
        return self.norm(h_BTD) * valid_mask(len_B, h_BTD.shape[1])[..., None], len_B

    def windows(self, chunk_frames: int = 0) -> Windows:
        """As `StreamingEncoder`."""
        return chunk_windows(chunk_frames, self.config.subsampling_factor)

    def init_state(self, batch: int) -> State:
        """As `StreamingEncoder`."""
        lstms = [part for layer in cast(Iterable[DeepLSTMLayer], self.layers) for part in lstm_state(layer.lstm, batch)]
        return [*self.subsampling.init_state(batch), *lstms]

    def stream(self, x_BTF: Tensor, x_len_B: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """As `StreamingEncoder`."""
        first = len(state) - 2 * len(self.layers)
        h_BTD, len_B, kept = self.subsampling.stream(x_BTF, x_len_B, state[:first])
        for number, layer in enumerate(cast(Iterable[DeepLSTMLayer], self.layers)):
            begin = first + 2 * number
            h_BTD, parts = layer.stream(h_BTD, state[begin : begin + 2])
            kept += parts
        return self.norm(h_BTD) * valid_mask(len_B, h_BTD.shape[1])[..., None], len_B, kept
