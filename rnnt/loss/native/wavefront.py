"""The recursion over lattices laid out by wavefronts, for a complete batch at once: the native backend for CPU.

All arcs lead from one wavefront (an anti-diagonal of a regular lattice, a frame of the others) to the next. A node has
a slot within its wavefront: a blank stays in its slot, and a symbol leads to the next one. One step is one vector over
utterances and slots.

The score a of a node, the log of the sum over all paths to it, is split into the score of the best of these paths and
the sum relative to that one:

    best[w+1,u] = max(best[w,u] + y[w,u], best[w,u-1] + x[w,u-1])
    sum[w+1,u] = sum[w,u] exp(best[w,u] + y[w,u] - best[w+1,u]) + sum[w,u-1] exp(best[w,u-1] + x[w,u-1] - best[w+1,u])
    a = best + log(sum)

So each wavefront costs a few of the cheapest operations; the exponentials are taken of a block of wavefronts at a time.
A sum is at least 1 and at most doubles per wavefront, so that it cannot overflow within a block, after which best takes
it in. The gradient is back-propagated: with g = 1 at the last node of an utterance, the occupation of an arc is g at
its end times its ratio exp(a[start] + arc - a[end]), and g at a node is the sum of the occupations of the arcs that
leave it.

All scores are float64. They reach thousands, where float32 leaves an occupation three digits.

Letters: W wavefronts, U slots, L the wavefronts of a block and the one after it.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Stands for the logarithm of zero: unlike infinity it can be subtracted from itself.
LOG_ZERO = -1e30
# Occupations below this are set to zero: they are negligible, and float32 denormals slow matrix products down.
SMALLEST_OCCUPATION = 1e-20
# Wavefronts per block: few enough for the cache, many enough for the operations on a block to be worth their call.
BLOCK = 32


def longest_first(end_wave_B: Tensor) -> Tensor:
    """The order of the utterances that `solve_wavefronts` needs: those that have not ended are always the first."""
    return torch.sort(end_wave_B, descending=True, stable=True).indices


def solve_wavefronts(
    x_BWU: Tensor, y_BWU: Tensor, end_wave_B: Tensor, end_slot_B: Tensor, wraps: bool
) -> tuple[Tensor, Tensor]:
    """Scores of a batch; replaces the arcs of each utterance before its end by their occupations.

    Args:
        x_BWU: symbol arcs that leave slot u of wavefront w, float64, at least LOG_ZERO or NaN.
        y_BWU: blank arcs, likewise.
        end_wave_B: the wavefront of the last node of each utterance, int64 on the CPU, in falling order, below W.
        end_slot_B: its slot, int64 on the CPU. The first node is slot 0 of wavefront 0.
        wraps: whether a symbol leads from the last slot to the first; else there must be none.

    Returns:
        score_B, of any value up to LOG_ZERO / 2 where there is no path; has_path_B, bool.
    """
    B, _, U = y_BWU.shape
    waves = int(end_wave_B[0]) if B > 0 else 0
    moves = [(slice(0, U - 1), slice(1, U))] + ([(slice(U - 1, U), slice(0, 1))] if wraps else [])
    best_BLU = torch.full((B, BLOCK + 1, U), LOG_ZERO, dtype=torch.float64)
    best_BLU[:, 0, 0] = 0
    sum_BLU = torch.ones_like(best_BLU)
    score_B = best_BLU[torch.arange(B), 0, end_slot_B]
    blocks = []
    for first in range(0, waves, BLOCK):
        length = min(BLOCK, waves - first)
        active, continuing = (int((end_wave_B > w).sum()) for w in (first, first + length))
        x, y = (p_BWU[:active, first : first + length] for p_BWU in (x_BWU, y_BWU))
        best, total = (p_BLU[:active, : length + 1] for p_BLU in (best_BLU, sum_BLU))
        _arc_ratios(x, y, best, total, moves)
        if not wraps:
            x[:, :, U - 1 :] = 0
        blocks.append((first, x, y))
        ended = slice(continuing, active)
        at = (torch.arange(continuing, active), end_wave_B[ended] - first, end_slot_B[ended])
        score_B[ended] = best[at] + total[at].log()
        best_BLU[:, 0] = best_BLU[:, length] + sum_BLU[:, length].log()

    has_path_B = ~(score_B <= LOG_ZERO / 2)  # NaN is a fault of the arcs, not a lack of paths
    ends: list[list[tuple[int, int]]] = [[] for _ in range(waves + 1)]
    for b in has_path_B.nonzero()[:, 0].tolist():
        ends[int(end_wave_B[b])].append((b, int(end_slot_B[b])))
    g_BU = torch.zeros(B, U, dtype=torch.float64)
    for first, x, y in reversed(blocks):
        _occupations(x, y, g_BU, ends[first + 1 : first + 1 + y.shape[1]], moves)
    return score_B, has_path_B


def _arc_ratios(x: Tensor, y: Tensor, best: Tensor, total: Tensor, moves: list[tuple[slice, slice]]) -> None:
    """Fills best and total from their first wavefront on; replaces the arcs by exp(a[start] + arc - a[end])."""
    buffers = [torch.empty_like(x[:, 0, u]) for u, _ in moves]
    best_at = best.unbind(1)
    by_symbol = [list(zip(best[:, :, u].unbind(1), x[:, :, u].unbind(1), best[:, 1:, v].unbind(1))) for u, v in moves]
    for w, blank in enumerate(y.unbind(1)):
        torch.add(best_at[w], blank, out=best_at[w + 1])
        for arcs, reached in zip(by_symbol, buffers):
            start, symbol, end = arcs[w]
            torch.add(start, symbol, out=reached)
            torch.maximum(end, reached, out=end)
    y.add_(best[:, :-1]).sub_(best[:, 1:]).exp_()
    for u, v in moves:
        x[:, :, u].add_(best[:, :-1, u]).sub_(best[:, 1:, v]).exp_()

    total_at = total.unbind(1)
    by_symbol = [list(zip(total[:, :, u].unbind(1), x[:, :, u].unbind(1), total[:, 1:, v].unbind(1))) for u, v in moves]
    for w, blank in enumerate(y.unbind(1)):
        torch.mul(total_at[w], blank, out=total_at[w + 1])
        for arcs in by_symbol:
            start, symbol, end = arcs[w]
            end.addcmul_(start, symbol)
    y.mul_(total[:, :-1]).div_(total[:, 1:])
    for u, v in moves:
        x[:, :, u].mul_(total[:, :-1, u]).div_(total[:, 1:, v])


def _occupations(
    x: Tensor, y: Tensor, g_BU: Tensor, ends: list[list[tuple[int, int]]], moves: list[tuple[slice, slice]]
) -> None:
    """Replaces the ratios of a block by occupations, and g after it by g before it.

    `ends[w]` lists the last nodes (b, slot) on the wavefront after the w-th of the block.
    """
    g = g_BU[: y.shape[0]]
    by_symbol = [(x[:, :, u].unbind(1), g[:, v]) for u, v in moves]
    for w, (blank, symbols) in reversed(list(enumerate(zip(y.unbind(1), x.unbind(1))))):
        for b, slot in ends[w]:
            g[b, slot] = 1
        blank.mul_(g)
        for symbol, g_end in by_symbol:
            symbol[w].mul_(g_end)
        torch.add(blank, symbols, out=g)
    for occupation in (x, y):
        torch.threshold_(occupation, SMALLEST_OCCUPATION, 0.0)
