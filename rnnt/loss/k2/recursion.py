"""k2's mutual_information_recursion: the score of a lattice given by its arcs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rnnt.loss.backends import lattice_solver
from rnnt.loss.lattice import LatticeScore
from rnnt.ops.compiling import disable_compile


@disable_compile
def mutual_information_recursion(
    px: Tensor,
    py: Tensor,
    boundary: Tensor | None = None,
    return_grad: bool = False,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, tuple[Tensor, Tensor]]:
    """The log of the sum over all paths through the lattice of the product of their arcs.

        a[0,0] = 0,  a[s,t] = log(exp(a[s-1,t-d] + px[s-1,t-d]) + exp(a[s,t-1] + py[s,t-1])),  score = a[S_b,T_b]

    with d = 0 if px has T+1 columns (regular) and d = 1 if it has T (modified, constrained). Graves 2012, equation 16.

    Args:
        px: log-scores of symbol arcs, (B,S,T+1) or (B,S,T), float32 or float64.
        py: log-scores of blank arcs, (B,S+1,T), of the same type.
        boundary: (B,4) int64 rows [first symbol, first frame, one past the last symbol, one past the last frame].
        return_grad: whether to return the occupations (constants), which are the gradients of the summed scores.
        backend: auto, native, reference or k2.

    Returns:
        score (B,), higher being better; with `return_grad` (score, (px_grad, py_grad)). Where there is no path the
        score is minus infinity and the gradient zero.

    Raises:
        ValueError: when shapes or boundary do not fit.
    """
    score_B, px_grad, py_grad = solve_lattice(px, py, boundary, backend)
    return (score_B, (px_grad, py_grad)) if return_grad else score_B


@disable_compile
def solve_lattice(px: Tensor, py: Tensor, boundary: Tensor | None, backend: str) -> tuple[Tensor, Tensor, Tensor]:
    """`mutual_information_recursion` with `return_grad`: score_B with autograd, px_grad, py_grad."""
    B, S, columns = px.shape
    T = py.shape[2]
    if columns not in (T, T + 1) or py.shape != (B, S + 1, T) or px.dtype != py.dtype:
        raise ValueError(
            f"px (B,S,T+1 or T) and py (B,S+1,T) do not fit: {tuple(px.shape)} {px.dtype}, {tuple(py.shape)} {py.dtype}"
        )
    begin_B2, end_B2 = read_boundary(boundary, B, S, T)
    shifted = bool(begin_B2.any())
    if shifted:
        px, py = (_shift(p, begin_B2) for p in (px, py))
    s_len_B, t_len_B = (end_B2 - begin_B2).unbind(1)
    score_B, px_grad, py_grad = LatticeScore.apply(px, py, s_len_B, t_len_B, lattice_solver(backend, px.device))
    if shifted:
        px_grad, py_grad = (_shift(g, -begin_B2) for g in (px_grad, py_grad))
    return score_B, px_grad, py_grad


def read_boundary(boundary: Tensor | None, B: int, S: int, T: int) -> tuple[Tensor, Tensor]:
    """First and last nodes (s, t) of each utterance, two (B,2) int64 tensors on the CPU.

    Raises:
        ValueError: when `boundary` has another shape or type, or leaves the lattice.
    """
    if boundary is None:
        boundary = torch.tensor([[0, 0, S, T]]).expand(B, 4)
    if boundary.shape != (B, 4) or boundary.dtype != torch.int64:
        raise ValueError(f"boundary must be ({B}, 4) int64, not {tuple(boundary.shape)} {boundary.dtype}")
    boundary = boundary.cpu()
    begin_B2, end_B2 = boundary[:, :2], boundary[:, 2:]
    if (begin_B2 < 0).any() or (begin_B2 > end_B2).any() or (end_B2 > torch.tensor([S, T])).any():
        raise ValueError(f"boundary rows must satisfy 0 <= begin <= end <= (S, T) = ({S}, {T}): {boundary.tolist()}")
    return begin_B2, end_B2


def _shift(x_BST: Tensor, by_B2: Tensor) -> Tensor:
    """x[b, s + by[b,0], t + by[b,1]], zero where that is outside."""
    B, S, T = x_BST.shape
    by_B2 = by_B2.to(x_BST.device)
    s_BS = torch.arange(S, device=x_BST.device) + by_B2[:, :1]
    t_BT = torch.arange(T, device=x_BST.device) + by_B2[:, 1:]
    inside = ((s_BS >= 0) & (s_BS < S))[:, :, None] & ((t_BT >= 0) & (t_BT < T))[:, None, :]
    rows = x_BST.gather(1, s_BS.clamp(0, max(S - 1, 0))[:, :, None].expand(-1, -1, T))
    shifted = rows.gather(2, t_BT.clamp(0, max(T - 1, 0))[:, None, :].expand(-1, S, -1))
    return shifted.masked_fill(~inside, 0.0)


@disable_compile
def joint_mutual_information_recursion(
    px: Sequence[Tensor], py: Sequence[Tensor], boundary: Tensor | None = None, backend: str = "auto"
) -> Tensor:
    """The score of the lattice of the summed arcs, split by summand.

    The part of a summand is its expectation over the paths; the entropy of the paths, which belongs to no summand, is
    added to the first.

    Args:
        px: N tensors, each as in `mutual_information_recursion`.
        py: N tensors, likewise.
        boundary: as there.
        backend: as there.

    Returns:
        (N, B), whose sum over N is the score.
    """
    px_NBST, py_NBUT = torch.stack(tuple(px)), torch.stack(tuple(py))
    with torch.no_grad():
        score_B, px_grad, py_grad = solve_lattice(px_NBST.sum(0), py_NBUT.sum(0), boundary, backend)
    least = torch.finfo(px_NBST.dtype).min  # an impossible arc has occupation 0, and 0 times infinity is not a number
    part_NB = (px_NBST.clamp(min=least) * px_grad).sum((2, 3)) + (py_NBUT.clamp(min=least) * py_grad).sum((2, 3))
    entropy_B = score_B - part_NB.detach().sum(0)
    return torch.cat((part_NB[:1] + entropy_B, part_NB[1:]))
