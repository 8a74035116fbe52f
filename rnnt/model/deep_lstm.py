"""An LSTM encoder of many layers: each is normalised, projected, followed by a feed-forward layer, and added."""

from torch import nn

from rnnt.model.layers import FeedForward, TimeSharedDropout
from rnnt.model.lstm import init_lstm_uniform
from rnnt.model.masking import valid_mask
from rnnt.model.subsampling import ConvSubsampling


class DeepLSTMLayer(nn.Module):
    """x + LSTM(norm x), then x + feed-forward(norm x). The LSTM's cells are projected to the width of the encoder.

    Projection: Sak et al. 2014, https://arxiv.org/abs/1402.1128.
    """

    def __init__(self, config):
        super().__init__()
        dim, hidden = config.encoder_dim, config.encoder_hidden_dim
        self.lstm_norm = nn.LayerNorm(dim)
        self.lstm = nn.LSTM(dim, hidden, proj_size=dim, batch_first=True)
        init_lstm_uniform(self.lstm, scale=1.0)
        self.dropout = TimeSharedDropout(config.dropout)
        self.feed_forward_norm = nn.LayerNorm(dim)
        self.feed_forward = FeedForward(dim, config.feedforward_dim, config.dropout)

    def forward(self, x_BTD):
        """(B, T, D) -> (B, T, D)."""
        x_BTD = x_BTD + self.dropout(self.lstm(self.lstm_norm(x_BTD))[0])
        return x_BTD + self.feed_forward(self.feed_forward_norm(x_BTD))


class DeepLSTMEncoder(nn.Module):
    """Convolution subsampling, then layers that read left to right, then a last normalisation.

    With 12 layers of 512 and 1024 cells the size of icefall's LSTM transducer. Plain layers of that depth do not
    converge; sums and normalisation are what makes them.
    """

    def __init__(self, config):
        super().__init__()
        self.dim = dim = config.encoder_dim
        self.subsampling = ConvSubsampling(
            config.num_features, config.subsampling_channels, dim, config.subsampling_factor
        )
        self.layers = nn.ModuleList(DeepLSTMLayer(config) for _ in range(config.encoder_layers))
        self.norm = nn.LayerNorm(dim)

    def forward(self, x_BTF, x_len_B):
        """x (B, T, F), lengths (B,) int64 -> h (B, T', D), lengths (B,); h is zero on padding."""
        h_BTD, len_B = self.subsampling(x_BTF, x_len_B)
        for layer in self.layers:
            h_BTD = layer(h_BTD)
        return self.norm(h_BTD) * valid_mask(len_B, h_BTD.shape[1])[..., None], len_B
