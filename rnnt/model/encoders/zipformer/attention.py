"""Attention in two parts: weights, computed once per layer, and the modules that share them.

Letters: C channels of the gates, E width of the encoding of distances, X distances, N all heads' channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from rnnt.model.encoders.zipformer.activations import scale_first_weights
from rnnt.model.encoders.zipformer.weights import (
    SharedWeights,
    gated_sums_of_first_head,
    shared_weights,
    sums_of_heads,
)
from rnnt.model.layers import Linear
from rnnt.model.regularisers import chance
from rnnt.model.regularisers.balancer import Balancer
from rnnt.model.regularisers.schedule import Schedule, Scheduled
from rnnt.model.regularisers.whiten import Whiten, whitening_schedule

if TYPE_CHECKING:
    from rnnt.model.encoders.zipformer.config import StackSizes

SCORE_LIMIT, SCORE_PENALTY, PENALTY_PROBABILITY = 25.0, 1e-4, 0.1
WITHOUT_POSITIONS = Schedule(((0.0, 0.5), (4000.0, 0.0)))


class AttentionWeights(Scheduled):
    """Weights of multi-head attention, by contents and distance of query i and key j:

        score(i, j) = q_i k_j + p_i r_(j - i)

    with projected encodings r of the distances, no scale (the first weights have it), and softmax over j. In training
    the distances are left out on some calls at first, keys are balanced and whitened, and on one call in ten scores
    beyond +-25 are penalised.
    """

    def __init__(self, sizes: StackSizes) -> None:
        super().__init__()
        self.heads, self.query_dim = sizes.num_heads, sizes.query_head_dim
        self.in_proj = Linear(sizes.encoder_dim, (2 * sizes.query_head_dim + sizes.pos_head_dim) * sizes.num_heads)
        scale_first_weights(self.in_proj, sizes.query_head_dim**-0.25)
        self.linear_pos = Linear(sizes.pos_dim, sizes.pos_head_dim * sizes.num_heads, bias=False)
        scale_first_weights(self.linear_pos, 0.05)
        # A constant added to all keys changes no weight; without this, rounding would let it grow.
        self.balance_keys = Balancer(min_positive=0.4, max_positive=0.6, min_abs=0.0, max_abs=100.0, probability=0.025)
        self.whiten_keys = Whiten(whitening_schedule(3.0), groups=sizes.num_heads, grad_scale=0.025)

    def forward(self, x_BTD: Tensor, distance_XE: Tensor, hidden: Tensor) -> SharedWeights:
        """(B, T, D), the encoding of the distances, what hidden keys get added -> weights (B, H, T, T)."""
        keys = self.heads * self.query_dim
        q_BTN, k_BTN, p_BTN = self.in_proj(x_BTD).split([keys, keys, self.linear_pos.out_features], dim=2)
        k_BTN = self.whiten_keys(self.balance_keys(k_BTN))
        r_XN = None
        if not (self.training and chance.happens(self.now(WITHOUT_POSITIONS))):
            r_XN = self.linear_pos(distance_XE).to(q_BTN.dtype)
        penalty = 0.0
        if self.training and chance.happens(PENALTY_PROBABILITY):
            penalty = SCORE_PENALTY * self.loss_scale
        return shared_weights(q_BTN, k_BTN, p_BTN, r_XN, hidden, self.heads, SCORE_LIMIT, penalty)


class SelfAttention(nn.Module):
    """Values, summed by given weights per head, and projected."""

    def __init__(self, dim: int, heads: int, value_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj = Linear(dim, heads * value_dim)
        self.out_proj = Linear(heads * value_dim, dim)
        scale_first_weights(self.out_proj, 0.05)
        self.whiten = Whiten(whitening_schedule(7.5, ratio=3.0))

    def forward(self, x_BTD: Tensor, shared: SharedWeights) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        return self.whiten(self.out_proj(sums_of_heads(self.in_proj(x_BTD), shared)))


class NonlinAttention(nn.Module):
    """Attention with one head for all channels, between two gates: out(y * (W (u * tanh(s))))."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = 3 * dim // 4
        self.in_proj = Linear(dim, 3 * hidden)
        self.balancer = Balancer(
            min_positive=Schedule(((0.0, 0.25), (20000.0, 0.05))),
            max_positive=Schedule(((0.0, 0.75), (20000.0, 0.95))),
            min_abs=0.5,
            max_abs=5.0,
        )
        self.out_proj = Linear(hidden, dim)
        scale_first_weights(self.out_proj, 0.05)
        self.whiten1 = Whiten(whitening_schedule(5.0))
        self.whiten2 = Whiten(whitening_schedule(5.0, ratio=3.0))

    def forward(self, x_BTD: Tensor, shared: SharedWeights, is_constant: bool = False) -> Tensor:
        """(B, T, D) -> (B, T, D), by the weights of the first head, or by equal weights of all that it sees."""
        s_BTC, u_BTC, y_BTC = self.in_proj(x_BTD).chunk(3, dim=2)
        y_BTC = gated_sums_of_first_head(self.balancer(s_BTC), self.whiten1(u_BTC), y_BTC, shared, is_constant)
        return self.whiten2(self.out_proj(y_BTC))
