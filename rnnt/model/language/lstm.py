"""LSTM language model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rnnt.model.language.base import LanguageModel, State
from rnnt.model.layers import lstm_state, stream_lstm

if TYPE_CHECKING:
    from rnnt.model.language.config import LSTMConfig


class LSTMLanguageModel(LanguageModel):
    """Embedding, LSTM layers, a linear layer that may share the embedding's weights (Press & Wolf 2017).

    First weights of the embedding are uniform within 0.1 (Zaremba et al. 2014, https://arxiv.org/abs/1409.2329).
    """

    def __init__(self, config: LSTMConfig, vocab_size: int, boundary_id: int) -> None:
        super().__init__(config, vocab_size, boundary_id)
        self.embedding = nn.Embedding(vocab_size, config.dim)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        between = config.dropout if config.layers > 1 else 0.0
        self.lstm = nn.LSTM(config.dim, config.dim, config.layers, batch_first=True, dropout=between)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(config.dim, vocab_size)
        if config.tie_weights:
            self.output.weight = self.embedding.weight

    def hidden(self, x_BU: Tensor) -> Tensor:
        return self.dropout(self.lstm(self.dropout(self.embedding(x_BU)))[0])

    def initial_state(self, N: int, device: torch.device | None = None) -> State:
        """Zeros: h and c, (N, layers, D) each."""
        return tuple(lstm_state(self.lstm, N))

    def step_hidden(self, token_N: Tensor, state: State) -> tuple[Tensor, State]:
        h_N1D, after = stream_lstm(self.lstm, self.embedding(token_N[:, None]), list(state))
        return h_N1D[:, 0], tuple(after)
