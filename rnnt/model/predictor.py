"""Predictors: what the tokens so far say about the next one.

A state is a tuple of tensors with the hypotheses first, (N, ...), so that a search selects and repeats hypotheses by
indexing. The start of an utterance is the token blank.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnnt.model.layers import init_lstm_uniform

if TYPE_CHECKING:
    from rnnt.model.config import LSTMPredictorConfig, StatelessConfig

State = tuple[Tensor, ...]


class StatelessPredictor(nn.Module):
    """Embedding, a grouped convolution over the last `context_size` tokens, ReLU.

    Before the start of an utterance, which is the token blank, come zero vectors. The embedding of blank is the zero
    vector, too, or, as in icefall, trained like that of every other token; then the convolution has no bias, and
    without a convolution there is no ReLU.

    Source: Ghodsi et al. 2020, "RNN-Transducer with Stateless Prediction Network"; the convolution is icefall's.
    """

    def __init__(self, config: StatelessConfig, vocab_size: int, blank_id: int) -> None:
        super().__init__()
        dim, as_icefall = config.predictor_dim, config.icefall_predictor
        self.blank_id = blank_id
        self.context_size = config.context_size
        self.embedding = nn.Embedding(vocab_size, dim, padding_idx=None if as_icefall else blank_id)
        self.conv: nn.Conv1d | None = None
        if config.context_size > 1:
            groups = dim // 4 if dim % 4 == 0 else 1
            self.conv = nn.Conv1d(dim, dim, config.context_size, groups=groups, bias=not as_icefall)
        self.has_relu = self.conv is not None or not as_icefall
        self.dropout = nn.Dropout(config.own_dropout)
        self.dim = dim

    def _activate(self, g: Tensor) -> Tensor:
        return F.relu(g) if self.has_relu else g

    def forward(self, y_BS: Tensor) -> Tensor:
        """Tokens (B, S) -> g (B, S + 1, D); row u has seen the first u tokens."""
        g_BUD = self.embedding(F.pad(y_BS, (1, 0), value=self.blank_id))
        if self.conv is not None:
            g_BUD = self.conv(F.pad(g_BUD.transpose(1, 2), (self.context_size - 1, 0))).transpose(1, 2)
        return self.dropout(self._activate(g_BUD))

    def start(self, batch: int, device: torch.device | None = None) -> Tensor:
        """The tokens (N,) that begin an utterance."""
        return torch.full((batch,), self.blank_id, dtype=torch.int64, device=device)

    def initial_state(self, batch: int, device: torch.device | None = None) -> State:
        """State before anything was seen; -1 stands for a zero vector."""
        return (torch.full((batch, self.context_size), -1, dtype=torch.int64, device=device),)

    def step(self, token_N: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one token for each of N hypotheses; return g (N, D) and the new state."""
        context_NC = torch.cat([state[0][:, 1:], token_N[:, None]], dim=1)
        return self.output_of(context_NC.clamp(min=0), context_NC >= 0), (context_NC,)

    def output_of(self, y_NC: Tensor, is_token_NC: Tensor) -> Tensor:
        """`forward` for the last `context_size` tokens alone: (N, C) and whether there are tokens -> (N, D).

        The convolution is one product per group, and faster as such.
        """
        g_NCD = self.embedding(y_NC) * is_token_NC[..., None]
        if self.conv is None:
            return self._activate(g_NCD[:, 0])
        N, groups, width = g_NCD.shape[0], self.conv.groups, self.dim // self.conv.groups
        g_GNX = g_NCD.transpose(1, 2).reshape(N, groups, width * self.context_size).transpose(0, 1)
        weight_GXO = self.conv.weight.view(groups, width, width * self.context_size).transpose(1, 2)
        g_ND = (g_GNX @ weight_GXO).transpose(0, 1).reshape(N, self.dim)
        return self._activate(g_ND if self.conv.bias is None else g_ND + self.conv.bias)


class TokenEmbedding(nn.Embedding):
    """V - 1 rows, for all tokens but blank, whose embedding is the zero vector."""

    def __init__(self, vocab_size: int, dim: int, blank_id: int) -> None:
        super().__init__(vocab_size - 1, dim)
        self.blank_id = blank_id

    def forward(self, token: Tensor) -> Tensor:
        """Ids (...) -> (..., D)."""
        row = token - (token >= self.blank_id).to(token.dtype)
        return super().forward(row.clamp(min=0)).masked_fill((token == self.blank_id)[..., None], 0.0)


class LSTMPredictor(nn.Module):
    """Embedding and LSTM layers over all tokens so far (Graves 2012, https://arxiv.org/abs/1211.3711)."""

    def __init__(self, config: LSTMPredictorConfig, vocab_size: int, blank_id: int) -> None:
        super().__init__()
        dim, dropout = config.predictor_dim, config.own_dropout
        self.blank_id = blank_id
        self.embedding = TokenEmbedding(vocab_size, dim, blank_id)
        between = dropout if config.predictor_layers > 1 else 0.0
        self.lstm = nn.LSTM(dim, dim, num_layers=config.predictor_layers, batch_first=True, dropout=between)
        init_lstm_uniform(self.lstm, config.lstm_init_scale)
        self.dropout = nn.Dropout(dropout)
        self.dim = dim

    def forward(self, y_BS: Tensor) -> Tensor:
        """Tokens (B, S) -> g (B, S + 1, D); row u has seen the first u tokens."""
        return self.dropout(self.lstm(self.embedding(F.pad(y_BS, (1, 0), value=self.blank_id)))[0])

    def start(self, batch: int, device: torch.device | None = None) -> Tensor:
        """The tokens (N,) that begin an utterance."""
        return torch.full((batch,), self.blank_id, dtype=torch.int64, device=device)

    def initial_state(self, batch: int, device: torch.device | None = None) -> State:
        """State before anything was seen: h and c, each (N, layers, D)."""
        zeros = torch.zeros(batch, self.lstm.num_layers, self.dim, device=device)
        return zeros, zeros.clone()

    def step(self, token_N: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one token for each of N hypotheses; return g (N, D) and the new state."""
        h_LND, c_LND = (s.transpose(0, 1).contiguous() for s in state)
        g_N1D, (h_LND, c_LND) = self.lstm(self.embedding(token_N[:, None]), (h_LND, c_LND))
        return g_N1D[:, 0], (h_LND.transpose(0, 1), c_LND.transpose(0, 1))
