"""The feed-forward module of the Zipformer."""

from __future__ import annotations

from torch import Tensor, nn

from rnnt.model.encoders.zipformer.activations import SwooshLinear
from rnnt.model.layers import Linear
from rnnt.model.regularisers.balancer import Balancer
from rnnt.model.regularisers.schedule import Schedule
from rnnt.model.regularisers.whiten import Whiten, whitening_schedule
from rnnt.ops.swoosh import LEFT

DROPOUT = Schedule(((0.0, 0.3), (20000.0, 0.1)))


class FeedForward(nn.Module):
    """Linear, SwooshL, dropout, linear: (B, T, D) -> (B, T, D)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.in_proj = Linear(dim, hidden)
        self.hidden_balancer = Balancer(min_positive=0.3, max_positive=1.0, min_abs=0.75, max_abs=5.0)
        self.out_proj = SwooshLinear(hidden, dim, LEFT, init_scale=0.1, dropout=DROPOUT)
        self.out_whiten = Whiten(whitening_schedule(7.5))

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        return self.out_whiten(self.out_proj(self.hidden_balancer(self.in_proj(x_BTD))))
