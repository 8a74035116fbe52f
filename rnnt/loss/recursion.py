"""The recursion in PyTorch, for a whole batch at once, on any device: the native backend for CPU.

The lattice is walked in stages, such that all arcs lead from one stage to the next: the anti-diagonals n = s + t
(regular), or the frames n = t (modified, constrained). One stage is one vector over utterances and s, so the walk
takes S+T (or T) steps of three operations. It runs in float64: scores reach thousands, where float32 leaves four
digits for an occupation, and the cost of this part is small.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Occupations below this are set to zero: they say nothing, and float32 denormals slow matrix products down.
SMALLEST_OCCUPATION = 1e-20


def _stage_view(stages_NBU: Tensor, S: int, columns: int, skewed: bool) -> Tensor:
    """The (B, S, columns) view of a stage buffer (N, B, U) in which [b, s, t] is node (s, t): of stage s + t if skewed, else t."""
    stride_n, stride_b, stride_s = stages_NBU.stride()
    B = stages_NBU.shape[1]
    return stages_NBU.as_strided((B, S, columns), (stride_b, stride_s + (stride_n if skewed else 0), stride_n))


def solve(px: Tensor, py: Tensor, s_len_B: Tensor, t_len_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scores and occupations of a batch of lattices; the recursion is that of recursion_reference.solve.

    The gradient is back-propagated: with g = 1 at (S_b, T_b), an arc's occupation is g at its end times
    exp(a[start] + arc - a[end]), and g at a node is the sum of the occupations of the arcs that leave it.

    Args: px (B,S,T+1) regular or (B,S,T) else; py (B,S+1,T), float32 or float64; s_len_B, t_len_B (B,) ints.
    Returns: score_B (minus infinity where there is no path), px_grad, py_grad (zero there), in the type of px.
    """
    B, S, columns = px.shape
    T = py.shape[2]
    regular = columns == T + 1
    s_len_B, t_len_B = s_len_B.to(px.device), t_len_B.to(px.device)
    s_U = torch.arange(S + 1, device=px.device)
    t_T = torch.arange(columns, device=px.device)
    at_end_BU = s_U == s_len_B[:, None]
    stages = (S + T if regular else T) + 1

    # x_NBU and y_NBU hold, for each node of each stage, the symbol arc and the blank arc that leave it.
    x_NBU = px.new_full((stages, B, S + 1), -torch.inf, dtype=torch.float64)
    y_NBU = torch.full_like(x_NBU, -torch.inf)
    left_B11 = t_len_B[:, None, None]
    px_exists = t_T <= left_B11 if regular else t_T < left_B11
    _stage_view(x_NBU, S, columns, regular).copy_(px.masked_fill(~px_exists, -torch.inf))
    _stage_view(y_NBU, S + 1, T, regular).copy_(py.masked_fill(t_T[:T] >= left_B11, -torch.inf))
    # From its own last node each utterance goes on at no cost, so that all end in the last stage.
    stage_N = torch.arange(stages, device=px.device)[:, None, None]
    last_stage_B = t_len_B + s_len_B if regular else t_len_B
    idle_NBU = at_end_BU & (stage_N >= last_stage_B[:, None])
    y_NBU.masked_fill_(idle_NBU, 0.0)

    # Column 0 stands for s = -1, from where nothing comes.
    a_NBU = px.new_full((stages, B, S + 2), -torch.inf, dtype=torch.float64)
    a_NBU[0, :, 1] = 0
    for n in range(stages - 1):
        stay = a_NBU[n, :, 1:] + y_NBU[n]
        stay[:, 1:] = torch.logaddexp(stay[:, 1:], a_NBU[n, :, 1:-1] + x_NBU[n, :, :-1])
        a_NBU[n + 1, :, 1:] = stay
    a_NBU = a_NBU[:, :, 1:]
    score_B = a_NBU[-1].gather(1, s_len_B[:, None])[:, 0]

    # The share of each arc in the score of the node it leads to: 0 where that node cannot be reached.
    end_NBU = a_NBU[1:].masked_fill(a_NBU[1:] == -torch.inf, torch.inf)
    y_NBU[:-1] = (y_NBU[:-1] + a_NBU[:-1] - end_NBU).exp_()
    x_NBU[:-1, :, :-1] = (x_NBU[:-1, :, :-1] + a_NBU[:-1, :, :-1] - end_NBU[:, :, 1:]).exp_()
    g_BU = (at_end_BU & torch.isfinite(score_B)[:, None]).to(torch.float64)
    y_NBU[-1] = 0
    x_NBU[-1] = 0
    for n in range(stages - 2, -1, -1):
        y_NBU[n] *= g_BU
        x_NBU[n, :, :-1] *= g_BU[:, 1:]
        x_NBU[n, :, -1] = 0
        g_BU = y_NBU[n] + x_NBU[n]
    y_NBU.masked_fill_(idle_NBU, 0.0)

    px_grad = _drop_smallest(_stage_view(x_NBU, S, columns, regular)).to(px.dtype)
    py_grad = _drop_smallest(_stage_view(y_NBU, S + 1, T, regular)).to(px.dtype)
    return score_B.to(px.dtype), px_grad.contiguous(), py_grad.contiguous()


def _drop_smallest(occupation: Tensor) -> Tensor:
    return torch.where(occupation < SMALLEST_OCCUPATION, 0.0, occupation)
