"""The joiner: encoder frame and predictor output in, a score for each token out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rnnt.model.layers import Linear, init_scaled

if TYPE_CHECKING:
    from rnnt.model.config import JoinerConfig


class Joiner(nn.Module):
    """logits = W activation(P h + Q g) + b. The two projections come first, so that a search does them once."""

    def __init__(self, encoder_dim: int, predictor_dim: int, vocab_size: int, config: JoinerConfig) -> None:
        super().__init__()
        self.encoder_dim = encoder_dim
        self.activation = config.joiner_activation
        self.dropout = config.joiner_dropout  # the losses draw it
        self.encoder_proj = Linear(encoder_dim, config.joiner_dim)
        self.predictor_proj = Linear(predictor_dim, config.joiner_dim)
        self.output = nn.Linear(config.joiner_dim, vocab_size)
        init_scaled(self.encoder_proj, config.proj_init_scale)
        init_scaled(self.predictor_proj, config.proj_init_scale)

    def project_encoder(self, h: Tensor) -> Tensor:
        """(..., D) -> (..., J)."""
        return self.encoder_proj(h)

    def project_predictor(self, g: Tensor) -> Tensor:
        """(..., D) -> (..., J)."""
        return self.predictor_proj(g)

    def logits(self, e: Tensor, p: Tensor) -> Tensor:
        """Projected encoder and predictor outputs, broadcast against each other -> (..., V)."""
        hidden = e + p
        return self.output(torch.tanh(hidden) if self.activation == "tanh" else torch.relu(hidden))
