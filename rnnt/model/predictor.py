"""Predictors: what the tokens so far say about the next one.

A state is a tuple of tensors with the hypotheses first, (N, ...), so that a search selects and repeats hypotheses by
indexing. The start of an utterance is the token blank, whose embedding is the zero vector.
"""

import torch
import torch.nn.functional as F
from torch import nn

from rnnt.model.lstm import init_lstm_uniform


class StatelessPredictor(nn.Module):
    """Embedding and a grouped convolution over the last `context_size` tokens.

    Source: Ghodsi et al. 2020, "RNN-Transducer with Stateless Prediction Network"; the convolution is icefall's.
    """

    def __init__(self, config):
        super().__init__()
        dim = config.predictor_dim
        self.blank_id = config.blank_id
        self.context_size = config.context_size
        self.embedding = nn.Embedding(config.vocab_size, dim, padding_idx=config.blank_id)
        groups = dim // 4 if dim % 4 == 0 else 1
        self.conv = (
            nn.Conv1d(dim, dim, kernel_size=config.context_size, groups=groups) if config.context_size > 1 else None
        )
        self.dropout = nn.Dropout(config.dropout_of_predictor())
        self.dim = dim

    def _output(self, tokens_BX):
        """tokens (B, X) -> (B, X - context_size + 1, D)."""
        g_BXD = self.embedding(tokens_BX)
        if self.conv is not None:
            g_BXD = self.conv(g_BXD.transpose(1, 2)).transpose(1, 2)
        return F.relu(g_BXD)

    def forward(self, y_BS):
        """Tokens (B, S) -> g (B, S + 1, D); row u has seen the first u tokens."""
        return self.dropout(self._output(F.pad(y_BS, (self.context_size, 0), value=self.blank_id)))

    def start(self, batch, device=None):
        """The tokens (N,) that begin an utterance."""
        return torch.full((batch,), self.blank_id, dtype=torch.int64, device=device)

    def initial_state(self, batch, device=None):
        """State before anything was seen."""
        return (torch.full((batch, self.context_size), self.blank_id, dtype=torch.int64, device=device),)

    def step(self, token_N, state):
        """Read one token for each of N hypotheses; return g (N, D) and the new state."""
        context_NC = torch.cat([state[0][:, 1:], token_N[:, None]], dim=1)
        return self._single_output(context_NC), (context_NC,)

    def _single_output(self, context_NC):
        """`_output` for just one position, (N, D). Here the convolution is a product a group, and faster as such."""
        g_NCD = self.embedding(context_NC)
        if self.conv is None:
            return F.relu(g_NCD[:, 0])
        N, groups, width = len(g_NCD), self.conv.groups, self.dim // self.conv.groups
        g_GNX = g_NCD.transpose(1, 2).reshape(N, groups, width * self.context_size).transpose(0, 1)
        weight_GXO = self.conv.weight.view(groups, width, width * self.context_size).transpose(1, 2)
        return F.relu((g_GNX @ weight_GXO).transpose(0, 1).reshape(N, self.dim) + self.conv.bias)


class TokenEmbedding(nn.Embedding):
    """V - 1 rows, for all tokens but blank, whose embedding is the zero vector."""

    def __init__(self, vocab_size, dim, blank_id):
        super().__init__(vocab_size - 1, dim)
        self.blank_id = blank_id

    def forward(self, token):
        """Ids (...) -> (..., D)."""
        row = token - (token >= self.blank_id).to(token.dtype)
        return super().forward(row.clamp(min=0)).masked_fill((token == self.blank_id)[..., None], 0.0)


class LSTMPredictor(nn.Module):
    """Embedding and LSTM layers over all tokens so far (Graves 2012, https://arxiv.org/abs/1211.3711)."""

    def __init__(self, config):
        super().__init__()
        dim, dropout = config.predictor_dim, config.dropout_of_predictor()
        self.blank_id = config.blank_id
        self.embedding = TokenEmbedding(config.vocab_size, dim, config.blank_id)
        between = dropout if config.predictor_layers > 1 else 0.0
        self.lstm = nn.LSTM(dim, dim, num_layers=config.predictor_layers, batch_first=True, dropout=between)
        init_lstm_uniform(self.lstm, config.lstm_init_scale)
        self.dropout = nn.Dropout(dropout)
        self.dim = dim

    def forward(self, y_BS):
        """Tokens (B, S) -> g (B, S + 1, D); row u has seen the first u tokens."""
        return self.dropout(self.lstm(self.embedding(F.pad(y_BS, (1, 0), value=self.blank_id)))[0])

    def start(self, batch, device=None):
        """The tokens (N,) that begin an utterance."""
        return torch.full((batch,), self.blank_id, dtype=torch.int64, device=device)

    def initial_state(self, batch, device=None):
        """State before anything was seen: h and c, each (N, layers, D)."""
        zeros = torch.zeros(batch, self.lstm.num_layers, self.dim, device=device)
        return zeros, zeros.clone()

    def step(self, token_N, state):
        """Read one token for each of N hypotheses; return g (N, D) and the new state."""
        h_LND, c_LND = (s.transpose(0, 1).contiguous() for s in state)
        g_N1D, (h_LND, c_LND) = self.lstm(self.embedding(token_N[:, None]), (h_LND, c_LND))
        return g_N1D[:, 0], (h_LND.transpose(0, 1), c_LND.transpose(0, 1))


PREDICTORS = {"stateless": StatelessPredictor, "lstm": LSTMPredictor}
