"""The transducer lattice: its types, its bounds, and the recursion over it as one autograd function.

A node (s, t) of utterance b means: s tokens emitted, t frames consumed, 0 <= s <= S_b, 0 <= t <= T_b. Its state is s:
the predictor has seen s tokens. Two arcs leave a node:

    px[b,s,t]  log-score of emitting token s:    to (s+1, t) if regular, to (s+1, t+1) if modified or constrained
    py[b,s,t]  log-score of blank:               to (s, t+1)

k2 calls the target tokens symbols, and so do these modules: `symbols_BS` are the targets, a symbol arc emits one.
The score of an utterance is the log of the sum over all paths from (0, 0) to (S_b, T_b) of the product of their arcs.
The gradient of the score by an arc is the arc's occupation: the posterior probability that a path takes it.
Sources: Graves 2012 (arXiv:1211.3711, section 2.4) for regular; Tripathi et al. 2019 (arXiv:1905.05955) for modified;
Kuang et al. 2022 (arXiv:2206.13236) for the pruned lattice and the names px and py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

RNNT_TYPES = ("regular", "modified", "constrained")

# A recursion: (px, py, s_len_B, t_len_B) -> (score_B, px_grad, py_grad), the latter two being the occupations.
LatticeSolver = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


def check_rnnt_type(rnnt_type: str) -> None:
    """Check the name of a lattice type.

    Raises:
        ValueError: when `rnnt_type` is not one of `RNNT_TYPES`.
    """
    if rnnt_type not in RNNT_TYPES:
        raise ValueError(f"rnnt_type must be one of {', '.join(RNNT_TYPES)}, not {rnnt_type!r}")


def sum_type(dtype: torch.dtype) -> torch.dtype:
    """The type of sums over tensors of `dtype`: float64 for float64, else float32."""
    return dtype if dtype == torch.float64 else torch.float32


def delay_penalty_term(x_len: Tensor, t: Tensor, delay_penalty: float, dtype: torch.dtype) -> Tensor:
    """What the delay penalty adds to a symbol arc on frame t: delay_penalty * ((x_len - 1) / 2 - t), broadcast.

    Tokens emitted late are penalised; the offset keeps the mean over the frames of an utterance at zero.
    Kang et al. 2023 (arXiv:2211.00490).
    """
    return delay_penalty * ((x_len.to(dtype) - 1) / 2 - t.to(dtype))


class LatticeScore(torch.autograd.Function):
    """Scores (B,) of px (B,S,T or T+1) and py (B,S+1,T), with the occupations as gradient.

    The occupations are also returned, as constants. There is no second derivative.
    """

    @staticmethod
    def forward(
        ctx: Any, px: Tensor, py: Tensor, s_len_B: Tensor, t_len_B: Tensor, solve: LatticeSolver
    ) -> tuple[Tensor, Tensor, Tensor]:
        score_B, px_grad, py_grad = solve(px, py, s_len_B, t_len_B)
        ctx.save_for_backward(px_grad, py_grad, score_B)
        ctx.mark_non_differentiable(px_grad, py_grad)
        return score_B, px_grad, py_grad

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g_B: Tensor, _px: Tensor, _py: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        px_grad, py_grad, score_B = ctx.saved_tensors
        # An utterance without a path has zero occupations; an infinite incoming gradient must not make them NaN.
        g_B11 = torch.where(score_B == -torch.inf, 0.0, g_B)[:, None, None]
        return g_B11 * px_grad, g_B11 * py_grad, None, None, None


def has_path(x_len_B: Tensor, y_len_B: Tensor, rnnt_type: str) -> Tensor:
    """Which utterances have a path through the complete lattice, (B,) bool on the device of the lengths.

    regular: any number of tokens needs at least one frame. modified, constrained: at most one token per frame.
    """
    if rnnt_type == "regular":
        return (x_len_B > 0) | (y_len_B == 0)
    return x_len_B >= y_len_B
