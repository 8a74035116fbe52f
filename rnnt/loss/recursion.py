"""The recursion in PyTorch, for a whole batch at once: the native backend for CPU.

The lattice is walked in stages, such that all arcs lead from one stage to the next: the anti-diagonals n = s + t
(regular), or the frames n = t (modified, constrained). One stage is one vector over utterances and s; arcs are read
and occupations are written in place, on the diagonals of px and py.

The scores of the nodes are float64. They reach thousands, where float32 leaves an occupation three digits.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Stands for the logarithm of zero: unlike infinity it can be subtracted from itself.
LOG_ZERO = -1e30
# Occupations below this are set to zero: they say nothing, and float32 denormals slow matrix products down.
SMALLEST_OCCUPATION = 1e-20


class _Stages:
    """The arcs x_BST of a lattice by stage: `stages[n]` is (first s, one past the last s, view (B, count) of x).

    x_BST must be contiguous.
    """

    def __init__(self, x_BST: Tensor, regular: bool):
        self.x_BST, self.regular = x_BST, regular

    def __getitem__(self, n: int) -> tuple[int, int, Tensor]:
        B, S, T = self.x_BST.shape
        if not self.regular:
            return 0, S, self.x_BST[:, :, n]
        first, end = max(0, n - T + 1), min(S, n + 1)
        count = max(end - first, 0)
        offset = self.x_BST.storage_offset() + first * T + n - first
        return first, first + count, self.x_BST.as_strided((B, count), (S * T, T - 1), offset)


def solve(px: Tensor, py: Tensor, s_len_B: Tensor, t_len_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scores and occupations of a batch of lattices; the recursion is that of recursion_reference.solve.

    The gradient is back-propagated: with g = 1 at (S_b, T_b), an arc's occupation is g at its end times
    exp(a[start] + arc - a[end]), and g at a node is the sum of the occupations of the arcs that leave it.

    Args: px (B,S,T+1) regular or (B,S,T) else; py (B,S+1,T), float32 or float64; s_len_B, t_len_B (B,) ints on the CPU.
    Returns: score_B (minus infinity where there is no path), px_grad, py_grad (zero there), in the type of px.
    """
    T = py.shape[2]
    regular = px.shape[2] == T + 1
    px, py = px.contiguous(), py.contiguous()
    end_stage_B = s_len_B + t_len_B if regular else t_len_B
    a_NBU = _forward(_Stages(px, regular), _Stages(py, regular), int(end_stage_B.max()) + 1)
    a_end_B = a_NBU[end_stage_B, torch.arange(px.shape[0]), s_len_B]
    has_path_B = a_end_B > LOG_ZERO / 2
    score_B = torch.where(has_path_B, a_end_B, -torch.inf)

    ends = [[] for _ in range(a_NBU.shape[0])]
    for b in has_path_B.nonzero()[:, 0].tolist():
        ends[int(end_stage_B[b])].append((b, int(s_len_B[b])))
    px_grad, py_grad = torch.zeros_like(px), torch.zeros_like(py)
    arcs = (_Stages(p, regular) for p in (px, py, px_grad, py_grad))
    _backward(a_NBU, ends, *arcs)
    return score_B.to(px.dtype), px_grad, py_grad


def _forward(px: _Stages, py: _Stages, stages: int) -> Tensor:
    """The scores a_NBU of all nodes."""
    B, U, _ = py.x_BST.shape
    a_NBU = torch.full((stages, B, U), LOG_ZERO, dtype=torch.float64)
    a_NBU[0, :, 0] = 0
    for here, there, n in zip(a_NBU, a_NBU[1:], range(stages - 1)):
        first, end, blank = py[n]
        torch.add(here[:, first:end], blank, out=there[:, first:end])
        first, end, symbol = px[n]
        reached = there[:, first + 1 : end + 1]
        torch.logaddexp(reached, here[:, first:end] + symbol, out=reached)
        there.clamp_(min=LOG_ZERO)
    return a_NBU


def _backward(a_NBU: Tensor, ends: list, px: _Stages, py: _Stages, px_grad: _Stages, py_grad: _Stages) -> None:
    """Fills the occupations. `ends[n]` lists the last nodes (b, s) of stage n."""
    g_BU = torch.zeros_like(a_NBU[0])
    for n in range(a_NBU.shape[0] - 1, -1, -1):
        if n < a_NBU.shape[0] - 1:
            here, there = a_NBU[n], a_NBU[n + 1]
            g_there, g_BU = g_BU, torch.zeros_like(g_BU)
            for first, end, arc, grad, step in ((*py[n], py_grad[n][2], 0), (*px[n], px_grad[n][2], 1)):
                reached = slice(first + step, end + step)
                occupation = (here[:, first:end] + arc).sub_(there[:, reached]).exp_().mul_(g_there[:, reached])
                torch.nn.functional.threshold_(occupation, SMALLEST_OCCUPATION, 0.0)
                grad.copy_(occupation)
                g_BU[:, first:end] += occupation
        for b, s in ends[n]:
            g_BU[b, s] = 1
