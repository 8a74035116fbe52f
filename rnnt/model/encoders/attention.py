"""Self-attention that knows how far apart two frames are."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnnt.model.layers import Linear
from rnnt.ops.compiling import is_tracing

FORBIDDEN = -1e4  # added to a score that must not count: exp of it is 0, in half precision too


def distance_encoding(T: int, dim: int, device: torch.device | None = None) -> Tensor:
    """Sines and cosines (2 T, D) of the distances T - 1, ..., 1, 0, -1, ..., -T, in frames."""
    distance_X = torch.arange(T - 1, -T - 1, -1, device=device, dtype=torch.float32)
    rates_D = torch.exp(torch.arange(0, dim, 2, device=device) * (-math.log(10000.0) / dim))
    angles_XD = distance_X[:, None] * rates_D
    return torch.cat([angles_XD.sin(), angles_XD.cos()], dim=1)


def by_key(x_BHTX: Tensor) -> Tensor:
    """Scores by distance (B, H, T, 2 T), in the order of `distance_encoding`, as scores by key (B, H, T, T).

    Query i and key j have the distance i - j, which is column T - 1 - i + j: one column less with each row. In memory
    that is a matrix whose rows are one shorter.
    """
    B, H, T, X = x_BHTX.shape
    return x_BHTX.reshape(B, H, T * X)[:, :, T - 1 : T - 1 + T * (X - 1)].view(B, H, T, X - 1)[..., :T]


class RelativeAttention(nn.Module):
    """Multi-head self-attention in which scores depend on contents and on the distance of query and key.

        score(i, j) = ((q_i + u) k_j + (q_i + v) p_(i - j)) / sqrt(width of a head)

    for learnt u and v and projected encodings p of the distances.
    Source: Dai et al. 2019, https://arxiv.org/abs/1901.02860.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.input = Linear(dim, 3 * dim)
        self.position = Linear(dim, dim, bias=False)
        self.output = Linear(dim, dim)
        self.content_bias = nn.Parameter(torch.empty(heads, dim // heads))
        self.position_bias = nn.Parameter(torch.empty(heads, dim // heads))
        nn.init.xavier_uniform_(self.content_bias)
        nn.init.xavier_uniform_(self.position_bias)

    def forward(self, x_BTD: Tensor, distance_XD: Tensor, valid_BT: Tensor) -> Tensor:
        """(B, T, D), the encoding of the distances and the mask of valid frames -> (B, T, D)."""
        B, T, _ = x_BTD.shape
        q_BTHC, k_BTHC, v_BTHC = self.input(x_BTD).view(B, T, 3, self.heads, -1).unbind(2)
        p_XHC = self.position(distance_XD).unflatten(1, (self.heads, -1))
        shifted_BHTC = (q_BTHC + self.position_bias).transpose(1, 2)
        by_distance_BHTX = shifted_BHTC @ p_XHC.permute(1, 2, 0)
        scores_BHTT = by_key(by_distance_BHTX) * q_BTHC.shape[3] ** -0.5
        scores_BHTT = scores_BHTT.masked_fill(~valid_BT[:, None, None, :], FORBIDDEN)
        if is_tracing():
            content_BHTT = (q_BTHC + self.content_bias).transpose(1, 2) @ k_BTHC.permute(0, 2, 3, 1)
            weights_BHTT = torch.softmax(content_BHTT * q_BTHC.shape[3] ** -0.5 + scores_BHTT, dim=-1)
            return self.output((weights_BHTT @ v_BTHC.transpose(1, 2)).transpose(1, 2).flatten(2))
        out_BHTC = F.scaled_dot_product_attention(
            (q_BTHC + self.content_bias).transpose(1, 2).to(v_BTHC.dtype),
            k_BTHC.transpose(1, 2),
            v_BTHC.transpose(1, 2),
            attn_mask=scores_BHTT.to(v_BTHC.dtype),
            dropout_p=self.dropout if self.training else 0.0,
        )
        return self.output(out_BHTC.transpose(1, 2).flatten(2))
