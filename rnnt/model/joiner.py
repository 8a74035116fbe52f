"""The joiner: encoder frame and predictor output in, a score for each token out."""

import torch
from torch import nn

from rnnt.model.layers import Linear


class Joiner(nn.Module):
    """logits = W activation(P h + Q g) + b. The two projections come first, so that a search does them once."""

    def __init__(self, encoder_dim, predictor_dim, config):
        super().__init__()
        self.activation = config.joiner_activation
        self.dropout = config.joiner_dropout  # the losses draw it
        self.encoder_proj = Linear(encoder_dim, config.joiner_dim)
        self.predictor_proj = Linear(predictor_dim, config.joiner_dim)
        self.output = nn.Linear(config.joiner_dim, config.vocab_size)

    def project_encoder(self, h):
        """(..., D) -> (..., J)."""
        return self.encoder_proj(h)

    def project_predictor(self, g):
        """(..., D) -> (..., J)."""
        return self.predictor_proj(g)

    def logits(self, e, p):
        """Projected encoder and predictor outputs, broadcast against each other -> (..., V)."""
        hidden = e + p
        return self.output(torch.tanh(hidden) if self.activation == "tanh" else torch.relu(hidden))
