"""Layers that several parts of the model share."""

import torch
from torch import nn

from rnnt.loss import projection


class Linear(nn.Linear):
    """`nn.Linear` by the faster matrix products on a CPU; the same weights, the same numbers up to rounding."""

    def forward(self, x):
        """(..., in) -> (..., out)."""
        return projection(x, self.weight, self.bias)


class FeedForward(nn.Sequential):
    """Two linear layers with SiLU between; dropout after both. (..., D) -> (..., D)."""

    def __init__(self, dim, hidden_dim, dropout):
        inner = Linear(dim, hidden_dim), nn.SiLU(), nn.Dropout(dropout)
        super().__init__(*inner, Linear(hidden_dim, dim), nn.Dropout(dropout))


class TimeSharedDropout(nn.Module):
    """Dropout that drops a channel of an utterance at all frames alike.

    The right kind for recurrent layers, and T times fewer random numbers.
    Source: Gal & Ghahramani 2016, https://arxiv.org/abs/1512.05287.
    """

    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self, x_BTD):
        """(B, T, D) -> (B, T, D); unchanged in evaluation."""
        if not self.training or self.p == 0:
            return x_BTD
        kept_B1D = torch.empty_like(x_BTD[:, :1]).bernoulli_(1 - self.p).div_(1 - self.p)
        return x_BTD * kept_B1D
