"""LSTM layers in one or both directions, and the encoder that adds each of them to what it reads."""

import torch
from torch import nn

from rnnt.model.layers import TimeSharedDropout
from rnnt.model.masking import reverse_valid, valid_mask
from rnnt.model.subsampling import ConvSubsampling


def init_lstm(lstm):
    """Xavier input weights, orthogonal recurrent weights, forget gates open.

    Sources: Jozefowicz et al. 2015 (forget bias 1); Saxe et al. 2014, https://arxiv.org/abs/1312.6120 (orthogonal).
    """
    for name, parameter in lstm.named_parameters():
        if "bias" in name:
            nn.init.zeros_(parameter)
            if "bias_ih" in name:
                nn.init.ones_(parameter.data.chunk(4)[1])
        else:
            for gate in parameter.data.chunk(4):
                nn.init.orthogonal_(gate) if "weight_hh" in name else nn.init.xavier_uniform_(gate)


def init_lstm_uniform(lstm, scale):
    """Torch's uniform weights within 1 / sqrt(hidden), forget gates at 1, then all times `scale`.

    Source: the MLPerf training reference of RNN-T, where the forget gates so end at `scale`.
    """
    with torch.no_grad():
        for name, parameter in lstm.named_parameters():
            if "bias" in name:
                parameter.chunk(4)[1].fill_(1.0 if "bias_ih" in name else 0.0)
            parameter.mul_(scale)


class BiLSTMLayer(nn.Module):
    """One LSTM layer in each direction. Each utterance is reversed within its own frames, so no packing is needed."""

    def __init__(self, in_dim, dim):
        super().__init__()
        self.forwards = nn.LSTM(in_dim, dim // 2, batch_first=True)
        self.backwards = nn.LSTM(in_dim, dim // 2, batch_first=True)
        init_lstm(self.forwards)
        init_lstm(self.backwards)

    def forward(self, x_BTD, len_B):
        left_BTD = self.forwards(x_BTD)[0]
        right_BTD = reverse_valid(self.backwards(reverse_valid(x_BTD, len_B))[0], len_B)
        return torch.cat([left_BTD, right_BTD], dim=-1)


class LSTMLayer(nn.Module):
    """One LSTM layer that reads left to right."""

    def __init__(self, in_dim, dim):
        super().__init__()
        self.lstm = nn.LSTM(in_dim, dim, batch_first=True)
        init_lstm(self.lstm)

    def forward(self, x_BTD, len_B):
        return self.lstm(x_BTD)[0]


class LSTMEncoder(nn.Module):
    """Convolution subsampling, then LSTM layers with dropout, each added to what it reads.

    The sums are what gets a small run off the all-blank plateau: a plain stack stays there hundreds of updates longer
    for each layer beyond the first (docs/training.md).
    """

    def __init__(self, config):
        super().__init__()
        dim = config.encoder_dim
        self.subsampling = ConvSubsampling(
            config.num_features, config.subsampling_channels, dim, config.subsampling_factor
        )
        layer = BiLSTMLayer if config.encoder_bidirectional else LSTMLayer
        self.layers = nn.ModuleList(layer(dim, dim) for _ in range(config.encoder_layers))
        self.dropout = TimeSharedDropout(config.dropout)
        self.dim = dim

    def forward(self, x_BTF, x_len_B):
        """x (B, T, F), lengths (B,) int64 -> h (B, T', D), lengths (B,); h is zero on padding."""
        h_BTD, len_B = self.subsampling(x_BTF, x_len_B)
        for layer in self.layers:
            h_BTD = h_BTD + self.dropout(layer(h_BTD, len_B))
        return h_BTD * valid_mask(len_B, h_BTD.shape[1])[..., None], len_B
