"""The recursion over whole lattices on a CPU: their arcs by stage, as stages.py wants them, and back.

The stages are the anti-diagonals n = s + t (regular), or the frames n = t (modified, constrained); the slot is s.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .stages import LOG_ZERO, longest_first, solve_stages


def solve(px: Tensor, py: Tensor, s_len_B: Tensor, t_len_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scores and occupations of a batch of lattices; the recursion is that of recursion_reference.solve.

    Args: px (B,S,T+1) regular or (B,S,T) else; py (B,S+1,T), float32 or float64; s_len_B, t_len_B (B,) ints on the CPU.
    Returns: score_B (minus infinity where there is no path), px_grad, py_grad (zero there), in the type of px.
    """
    B, U, T = py.shape
    regular = px.shape[2] == T + 1
    end_stage_B = s_len_B + t_len_B if regular else t_len_B
    order_B = longest_first(end_stage_B)
    stages = int(end_stage_B.max()) + 1
    x_BNU, y_BNU = (torch.full((B, stages, U), LOG_ZERO, dtype=torch.float64) for _ in range(2))
    lattices = list(zip(order_B.tolist(), s_len_B[order_B].tolist(), t_len_B[order_B].tolist()))
    for row, (b, S_b, T_b) in enumerate(lattices):
        columns = T_b + 1 if regular else T_b
        _nodes(x_BNU[row], S_b, columns, regular).copy_(px[b, :S_b, :columns]).clamp_(min=LOG_ZERO)
        _nodes(y_BNU[row], S_b + 1, T_b, regular).copy_(py[b, : S_b + 1, :T_b]).clamp_(min=LOG_ZERO)
    ordered_B, has_path_B = solve_stages(x_BNU, y_BNU, end_stage_B[order_B], s_len_B[order_B], wraps=False)

    px_grad, py_grad = torch.zeros_like(px), torch.zeros_like(py)
    for row, (b, S_b, T_b) in enumerate(lattices):
        columns = T_b + 1 if regular else T_b
        px_grad[b, :S_b, :columns] = _nodes(x_BNU[row], S_b, columns, regular)
        py_grad[b, : S_b + 1, :T_b] = _nodes(y_BNU[row], S_b + 1, T_b, regular)
    score_B = torch.empty_like(ordered_B)
    score_B[order_B] = torch.where(has_path_B, ordered_B, -torch.inf)
    return score_B.to(px.dtype), px_grad, py_grad


def _nodes(x_NU: Tensor, S: int, T: int, regular: bool) -> Tensor:
    """x at (s, t), s < S and t < T: a view (S,T) of an utterance's arcs by stage, which must be contiguous."""
    U = x_NU.shape[1]
    return x_NU.as_strided((S, T), (U + 1 if regular else 1, U))
