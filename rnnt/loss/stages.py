"""The recursion over lattices laid out by stages, for a whole batch at once: the native backend for CPU.

All arcs lead from one stage to the next. A node has a slot within its stage: a blank stays in its slot, and a symbol
leads to the next one. One step is one vector over utterances and slots.

The score a of a node, the log of the sum over all paths to it, is split into the score of the best of these paths and
the sum relative to that one:

    best[n+1,u] = max(best[n,u] + y[n,u], best[n,u-1] + x[n,u-1])
    sum[n+1,u] = sum[n,u] exp(best[n,u] + y[n,u] - best[n+1,u]) + sum[n,u-1] exp(best[n,u-1] + x[n,u-1] - best[n+1,u])
    a = best + log(sum)

So what is done stage by stage is a handful of the cheapest operations; the exponentials are taken of many stages at a
time. A sum is at least 1 and at most doubles in a stage, so that it cannot overflow within a run of stages, after which
best takes it in. The gradient is back-propagated: with g = 1 at the last node of an utterance, the occupation of an arc
is g at its end times exp(a[start] + arc - a[end]), and g at a node is the sum of the occupations of the arcs that leave
it.

All scores are float64. They reach thousands, where float32 leaves an occupation three digits.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Stands for the logarithm of zero: unlike infinity it can be subtracted from itself.
LOG_ZERO = -1e30
# Occupations below this are set to zero: they say nothing, and float32 denormals slow matrix products down.
SMALLEST_OCCUPATION = 1e-20
# Stages of a run: few enough for the cache, many enough for the operations on a whole run to be worth their call.
RUN = 32


def longest_first(end_stage_B: Tensor) -> Tensor:
    """The order of the utterances that `solve_stages` needs: those still under way are always the first ones."""
    return torch.sort(end_stage_B, descending=True, stable=True).indices


def solve_stages(
    x_BNU: Tensor, y_BNU: Tensor, end_stage_B: Tensor, end_slot_B: Tensor, wraps: bool
) -> tuple[Tensor, Tensor]:
    """Scores of a batch; replaces the arcs of each utterance before its end by their occupations.

    Args:
        x_BNU, y_BNU: symbol and blank arcs that leave slot u of stage n, float64, at least LOG_ZERO.
        end_stage_B, end_slot_B: the last node of each utterance, int64 on the CPU, the stages in falling order; all
            are below N. The first node is slot 0 of stage 0.
        wraps: whether a symbol leads from the last slot to the first; else there must be none.
    Returns: score_B, of any value below LOG_ZERO / 2 where there is no path; has_path_B, bool.
    """
    B, _, U = y_BNU.shape
    stages = int(end_stage_B[0]) if B > 0 else 0
    moves = [(slice(0, U - 1), slice(1, U))] + ([(slice(U - 1, U), slice(0, 1))] if wraps else [])
    best_BKU = torch.full((B, RUN + 1, U), LOG_ZERO, dtype=torch.float64)
    best_BKU[:, 0, 0] = 0
    sum_BKU = torch.ones_like(best_BKU)
    score_B = best_BKU[torch.arange(B), 0, end_slot_B]
    runs = []
    for first in range(0, stages, RUN):
        length = min(RUN, stages - first)
        active, going_on = (int((end_stage_B > n).sum()) for n in (first, first + length))
        x, y = (p_BNU[:active, first : first + length] for p_BNU in (x_BNU, y_BNU))
        best, total = (p_BKU[:active, : length + 1] for p_BKU in (best_BKU, sum_BKU))
        _shares(x, y, best, total, moves)
        if not wraps:
            x[:, :, U - 1 :] = 0
        runs.append((first, x, y))
        ended = slice(going_on, active)
        at = (torch.arange(going_on, active), end_stage_B[ended] - first, end_slot_B[ended])
        score_B[ended] = best[at] + total[at].log()
        best_BKU[:, 0] = best_BKU[:, length] + sum_BKU[:, length].log()

    has_path_B = score_B > LOG_ZERO / 2
    ends = [[] for _ in range(stages + 1)]
    for b in has_path_B.nonzero()[:, 0].tolist():
        ends[int(end_stage_B[b])].append((b, int(end_slot_B[b])))
    g_BU = torch.zeros(B, U, dtype=torch.float64)
    for first, x, y in reversed(runs):
        _occupations(x, y, g_BU, ends[first + 1 : first + 1 + y.shape[1]], moves)
    return score_B, has_path_B


def _shares(x: Tensor, y: Tensor, best: Tensor, total: Tensor, moves: list) -> None:
    """Fills best and total from their first stage on; replaces the arcs by exp(a[start] + arc - a[end])."""
    tmp = [torch.empty_like(x[:, 0, u]) for u, _ in moves]
    best_there = best.unbind(1)
    by_symbol = [list(zip(best[:, :, u].unbind(1), x[:, :, u].unbind(1), best[:, 1:, v].unbind(1))) for u, v in moves]
    for n, blank in enumerate(y.unbind(1)):
        torch.add(best_there[n], blank, out=best_there[n + 1])
        for arcs, reached in zip(by_symbol, tmp):
            here, symbol, there = arcs[n]
            torch.add(here, symbol, out=reached)
            torch.maximum(there, reached, out=there)
    y.add_(best[:, :-1]).sub_(best[:, 1:]).exp_()
    for u, v in moves:
        x[:, :, u].add_(best[:, :-1, u]).sub_(best[:, 1:, v]).exp_()

    total_there = total.unbind(1)
    by_symbol = [list(zip(total[:, :, u].unbind(1), x[:, :, u].unbind(1), total[:, 1:, v].unbind(1))) for u, v in moves]
    for n, blank in enumerate(y.unbind(1)):
        torch.mul(total_there[n], blank, out=total_there[n + 1])
        for arcs in by_symbol:
            here, symbol, there = arcs[n]
            there.addcmul_(here, symbol)
    y.mul_(total[:, :-1]).div_(total[:, 1:])
    for u, v in moves:
        x[:, :, u].mul_(total[:, :-1, u]).div_(total[:, 1:, v])


def _occupations(x: Tensor, y: Tensor, g_BU: Tensor, ends: list, moves: list) -> None:
    """Replaces the shares of a run by occupations, and g after it by g before it.

    `ends[n]` lists the last nodes (b, slot) of the stage after the n-th of the run.
    """
    g = g_BU[: y.shape[0]]
    by_symbol = [(x[:, :, u].unbind(1), g[:, v]) for u, v in moves]
    for n, (blank, symbols) in reversed(list(enumerate(zip(y.unbind(1), x.unbind(1))))):
        for b, slot in ends[n]:
            g[b, slot] = 1
        blank.mul_(g)
        for symbol, g_there in by_symbol:
            symbol[n].mul_(g_there)
        torch.add(blank, symbols, out=g)
    for occupation in (x, y):
        torch.nn.functional.threshold_(occupation, SMALLEST_OCCUPATION, 0.0)
