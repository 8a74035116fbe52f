"""The recursion over a band of the lattice: R consecutive contexts at each frame. Native backend for CPU.

Frames of all utterances are packed, without padding: px_NR and py_NR hold, for each frame, the arcs of the nodes
s = start .. start+R-1. The whole lattice is the band with start 0 and R = S+1.

It is walked in stages as in recursion.py. On one stage a band has at most R nodes, and their s are consecutive, since
the windows never move down. So node s has slot s mod R of a (stages, B, R) buffer: a blank stays in its slot, and a
symbol leads to the next one.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .recursion import LOG_ZERO, SMALLEST_OCCUPATION


class Band(NamedTuple):
    """Where the packed frames are.

    utterance_N, frame_N: b and t of each packed frame; start_N: its first context; R: how many contexts.
    x_len_B, y_len_B: frames and symbols, int64 on the CPU.
    """

    utterance_N: Tensor
    frame_N: Tensor
    start_N: Tensor
    R: int
    x_len_B: Tensor
    y_len_B: Tensor


def pack(start_BT: Tensor | None, R: int, x_len_B: Tensor, y_len_B: Tensor, device: torch.device) -> Band:
    """The band of a batch whose windows begin at start_BT (None: at 0). No device synchronisation."""
    utterance_N = torch.repeat_interleave(torch.arange(len(x_len_B)), x_len_B)
    first_B = x_len_B.cumsum(0) - x_len_B
    frame_N = torch.arange(len(utterance_N)) - first_B[utterance_N]
    utterance_N, frame_N = (n.to(device, non_blocking=True) for n in (utterance_N, frame_N))
    start_N = torch.zeros_like(frame_N) if start_BT is None else start_BT[utterance_N, frame_N]
    return Band(utterance_N, frame_N, start_N, R, x_len_B, y_len_B)


def usable_arcs(band: Band, regular: bool) -> tuple[Tensor, Tensor]:
    """Which symbol and which blank arcs lead to a node of the band or to the end, two (N,R) bool tensors."""
    device = band.start_N.device
    x_len_N, y_len_N = (n.to(device, non_blocking=True)[band.utterance_N, None] for n in (band.x_len_B, band.y_len_B))
    s_NR = band.start_N[:, None] + torch.arange(band.R, device=device)
    last_frame_N = band.frame_N[:, None] == x_len_N - 1
    next_start_N = torch.nn.functional.pad(band.start_N[1:], (0, 1))[:, None] if len(band.start_N) else s_NR
    blank_NR = torch.where(last_frame_N, s_NR == y_len_N, s_NR >= next_start_N)
    if regular:
        symbol_NR = (s_NR < y_len_N) & (torch.arange(band.R, device=device) < band.R - 1)
    else:
        inside = (s_NR + 1 >= next_start_N) & (s_NR + 1 < next_start_N + band.R)
        symbol_NR = (s_NR < y_len_N) & torch.where(last_frame_N, s_NR + 1 == y_len_N, inside)
    return symbol_NR, blank_NR & (s_NR <= y_len_N)


def solve_band(px_NR: Tensor, py_NR: Tensor, band: Band, regular: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Scores and occupations of a band; the recursion is that of recursion_reference.solve on its nodes alone.

    Args: px_NR, py_NR: arcs of the band, float32 or float64, any value where there is none.
    Returns: score_B (minus infinity where there is no path), px_grad_NR, py_grad_NR (zero there).
    """
    B, R = len(band.x_len_B), band.R
    s_NR = band.start_N[:, None] + torch.arange(R)
    stage_NR = band.frame_N[:, None] + (s_NR if regular else 0)
    place_NR = (stage_NR * B + band.utterance_N[:, None]) * R + s_NR % R
    end_stage_B = band.x_len_B + band.y_len_B if regular else band.x_len_B
    stages = max(int(stage_NR.max()) + 2 if stage_NR.numel() else 1, int(end_stage_B.max()) + 1)

    x_NBR, y_NBR = (torch.full((stages, B, R), LOG_ZERO, dtype=torch.float64) for _ in range(2))
    for arcs_NBR, p_NR, usable_NR in zip((x_NBR, y_NBR), (px_NR, py_NR), usable_arcs(band, regular)):
        arcs = torch.where(usable_NR, p_NR.double(), LOG_ZERO).clamp_(min=LOG_ZERO)
        arcs_NBR.view(-1).index_put_((place_NR.view(-1),), arcs.view(-1))

    a_NBR = _forward(x_NBR, y_NBR)
    utterance_B = torch.arange(B)
    a_end_B = a_NBR[end_stage_B, utterance_B, band.y_len_B % R]
    # Without frames, the slot of the last node may be that of the first.
    has_path_B = (a_end_B > LOG_ZERO / 2) & ((band.x_len_B > 0) | (band.y_len_B == 0))
    ends = [[] for _ in range(stages)]
    for b in has_path_B.nonzero()[:, 0].tolist():
        ends[int(end_stage_B[b])].append((b, int(band.y_len_B[b]) % R))
    _backward(x_NBR, y_NBR, a_NBR, ends)
    grads = (arcs_NBR.view(-1)[place_NR].to(px_NR.dtype) for arcs_NBR in (x_NBR, y_NBR))
    score_B = torch.where(has_path_B, a_end_B, -torch.inf)
    return score_B.to(px_NR.dtype), *grads


def _forward(x_NBR: Tensor, y_NBR: Tensor) -> Tensor:
    """The scores a_NBR of all nodes."""
    a_NBR = torch.full_like(x_NBR, LOG_ZERO)
    a_NBR[0, :, 0] = 0
    for here, there, x_BR, y_BR in zip(a_NBR, a_NBR[1:], x_NBR, y_NBR):
        torch.logaddexp(here + y_BR, (here + x_BR).roll(1, 1), out=there)
        there.clamp_(min=LOG_ZERO)
    return a_NBR


def _backward(x_NBR: Tensor, y_NBR: Tensor, a_NBR: Tensor, ends: list) -> None:
    """Replaces the arcs by their occupations. `ends[n]` lists the last nodes (b, slot) of stage n."""
    # The share of an arc in the score of the node it leads to; the roll takes that node's slot back to its own.
    y_NBR[:-1].add_(a_NBR[:-1]).sub_(a_NBR[1:]).exp_()
    x_NBR[:-1].add_(a_NBR[:-1]).sub_(a_NBR[1:].roll(-1, 2)).exp_()
    g_BR = torch.zeros_like(x_NBR[0])
    for n in range(len(ends) - 1, -1, -1):
        y_NBR[n] *= g_BR
        x_NBR[n] *= g_BR.roll(-1, 1)
        g_BR = x_NBR[n] + y_NBR[n]
        for b, slot in ends[n]:
            g_BR[b, slot] = 1
    for occupation in (x_NBR, y_NBR):
        torch.nn.functional.threshold_(occupation, SMALLEST_OCCUPATION, 0.0)
