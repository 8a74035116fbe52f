"""Which R nodes per frame the joiner is evaluated on. Kuang et al. 2022 (arXiv:2206.13236), section 2.3."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnt.loss.lattice import check_rnnt_type, has_path
from rnnt.ops.compiling import disable_compile


def least_prune_range(x_len_B: Tensor, y_len_B: Tensor, rnnt_type: str) -> int:
    """The least range in which every utterance of the batch that has a path keeps one, from lengths on the CPU.

    regular: a window may move up by R-1 states per frame, so (R-1) * T_b must reach S_b; at least 2 where there are
    tokens. modified, constrained: at most one token per frame whatever the range, so 1.
    """
    usable_B = has_path(x_len_B, y_len_B, rnnt_type)
    x_len_B, y_len_B = x_len_B[usable_B], y_len_B[usable_B]
    if rnnt_type != "regular" or y_len_B.numel() == 0:
        return 1
    frames_B = x_len_B.clamp(min=1)
    # Truncating division, as in k2: a batch without any token needs 2.
    return int(((y_len_B - 1).div(frames_B, rounding_mode="trunc") + 2).max())


@disable_compile
def prune_ranges(
    px_grad: Tensor, py_grad: Tensor, x_len_B: Tensor, y_len_B: Tensor, prune_range: int, rnnt_type: str
) -> Tensor:
    """The states to keep at each frame: the window of consecutive s that holds most of the blank occupation.

    1. For every start i and frame t: score[i,t] = sum_{j=i}^{i+R-1} py_grad[j,t] - px_grad[i-1,t] (0 for i = 0): what
       leaves the frame inside the window, less what enters the window from below on this frame.
    2. start[t] = argmax_i score[i,t], the first on ties; from the last frame on max(S_b - R + 1, 0).
    3. Bounds: start does not decrease, begins at 0, and moves up by at most R-1 per frame (regular) or 1 (else).

    Args:
        px_grad: occupations of the symbol arcs of the simple loss, (B,S,T+1 or T); taken as constants.
        py_grad: occupations of its blank arcs, (B,S+1,T); taken as constants.
        x_len_B: frames per utterance, int64 on the CPU.
        y_len_B: target tokens per utterance, int64 on the CPU.
        prune_range: R, how many states per frame; raised silently where an utterance could not reach its end, and
            lowered to S+1.
        rnnt_type: regular, modified or constrained.

    Returns:
        ranges_BTR int64, consecutive along R, at most S.

    Raises:
        ValueError: when `prune_range` < 1 or `rnnt_type` is unknown.
    """
    check_rnnt_type(rnnt_type)
    if prune_range < 1:
        raise ValueError(f"the pruning range must be at least 1, not {prune_range}")
    S = py_grad.shape[1] - 1
    prune_range = min(max(prune_range, least_prune_range(x_len_B, y_len_B, rnnt_type)), S + 1)
    x_len_B, y_len_B = (n.to(py_grad.device, non_blocking=True) for n in (x_len_B, y_len_B))
    start_BT = _best_window(px_grad.detach(), py_grad.detach(), prune_range)
    last_start_B = (y_len_B - prune_range + 1).clamp(min=0)
    t_T = torch.arange(start_BT.shape[1], device=start_BT.device)
    start_BT = torch.where(t_T < x_len_B[:, None] - 1, start_BT, last_start_B[:, None])
    start_BT = _bound(start_BT, prune_range - 1 if rnnt_type == "regular" else 1)
    return start_BT[:, :, None] + torch.arange(prune_range, device=start_BT.device)


def _best_window(px_grad: Tensor, py_grad: Tensor, prune_range: int) -> Tensor:
    """Steps 1 and 2: start_BT."""
    T = py_grad.shape[2]
    inside = py_grad.unfold(1, prune_range, 1).sum(3)
    inside[:, 1:] -= px_grad[:, : inside.shape[1] - 1, :T]
    return inside.argmax(1)


def _bound(start_BT: Tensor, most: int) -> Tensor:
    """Step 3: with z[t] = t * most - start[t], neither start nor z may decrease, and z is not negative."""
    ramp_T = most * torch.arange(start_BT.shape[1], device=start_BT.device)
    slack_BT = ramp_T - _running_min_from_right(start_BT)
    return ramp_T - _running_min_from_right(slack_BT).clamp(min=0)


def _running_min_from_right(x_BT: Tensor) -> Tensor:
    return x_BT.flip(1).cummin(1).values.flip(1)


@disable_compile
def get_rnnt_prune_ranges(px_grad: Tensor, py_grad: Tensor, boundary: Tensor, s_range: int) -> Tensor:
    """k2's function of this name: `prune_ranges`, with the lattice type inferred from the columns of `px_grad`.

    Args:
        px_grad: (B,S,T+1) if regular, (B,S,T) else.
        py_grad: (B,S+1,T).
        boundary: (B,4) int64, as in `mutual_information_recursion`.
        s_range: how many states per frame.

    Returns:
        ranges (B,T,R) int64.
    """
    regular = px_grad.shape[2] == py_grad.shape[2] + 1
    boundary = boundary.cpu()
    return prune_ranges(px_grad, py_grad, boundary[:, 3], boundary[:, 2], s_range, "regular" if regular else "modified")


def do_rnnt_pruning(am: Tensor, lm: Tensor, ranges: Tensor) -> tuple[Tensor, Tensor]:
    """Both sides of the joiner on the band.

    Args:
        am: (B,T,D).
        lm: (B,S+1,E).
        ranges: (B,T,R) int64.

    Returns:
        am as (B,T,R,D), a view of it; lm[b, ranges[b,t,j]] as (B,T,R,E).
    """
    B, T, R = ranges.shape
    index = ranges.reshape(B, T * R, 1).expand(-1, -1, lm.shape[2])
    return am[:, :, None].expand(-1, -1, R, -1), lm.gather(1, index).reshape(B, T, R, lm.shape[2])
