"""The recursion over a band of the lattice: R consecutive states at each frame. Native backend for CPU.

Frames of all utterances are packed, without padding: px_NR and py_NR hold, for each frame, the arcs of the nodes
s = start .. start+R-1. The complete lattice is the band with start 0 and R = S+1.

Its wavefronts are those of `wavefront`. On one wavefront a band has at most R nodes, and their s are consecutive, since
the windows never move down. So state s has slot s mod R: a blank stays in its slot, and a symbol leads to the next one.

Letters: N packed frames, W wavefronts, K nodes that may have an arc.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rnnt.loss.native.wavefront import LOG_ZERO, longest_first, solve_wavefronts


class Band(NamedTuple):
    """The nodes of a band; those of a frame are R consecutive ones, n * R .. n * R + R - 1.

    Args:
        utterance_N: b of each packed frame.
        frame_N: t of each packed frame.
        start_N: the first state of its window.
        R: how many states a window has.
        x_len_B: frames per utterance, int64 on the CPU.
        y_len_B: target tokens per utterance, int64 on the CPU.
        node_K: the nodes that have an arc, where that is known without waiting for the device; None for all.
    """

    utterance_N: Tensor
    frame_N: Tensor
    start_N: Tensor
    R: int
    x_len_B: Tensor
    y_len_B: Tensor
    node_K: Tensor | None = None


def pack(start_BT: Tensor | None, R: int, x_len_B: Tensor, y_len_B: Tensor, device: torch.device) -> Band:
    """The band of a batch whose windows begin at `start_BT` (None: at 0). No device synchronisation."""
    utterance_N = torch.repeat_interleave(torch.arange(len(x_len_B)), x_len_B)
    first_B = x_len_B.cumsum(0) - x_len_B
    frame_N = torch.arange(len(utterance_N)) - first_B[utterance_N]
    utterance_N, frame_N = (n.to(device, non_blocking=True) for n in (utterance_N, frame_N))
    start_N = torch.zeros_like(frame_N) if start_BT is None else start_BT[utterance_N, frame_N]
    return Band(utterance_N, frame_N, start_N, R, x_len_B, y_len_B)


def with_arcs_only(band: Band) -> Band:
    """The complete lattice (all windows begin at 0) without the states past the end of a text, which cost nothing."""
    s_len_N = torch.repeat_interleave(band.y_len_B, band.x_len_B)
    node_K = (torch.arange(band.R) <= s_len_N[:, None]).view(-1).nonzero()[:, 0]
    return band._replace(node_K=node_K.to(band.start_N.device, non_blocking=True))


def usable_arcs(band: Band, regular: bool) -> tuple[Tensor, Tensor]:
    """Which symbol and which blank arcs lead to a node of the band or to the end, two (N,R) bool tensors.

    An utterance has none where its lengths allow no path, nor on its first frame where the window begins above state 0.
    """
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
    possible_N1 = ((band.frame_N > 0) | (band.start_N == 0))[:, None]
    if not regular:
        possible_N1 &= x_len_N >= y_len_N
    return symbol_NR & possible_N1, blank_NR & (s_NR <= y_len_N) & possible_N1


def solve_band(px_NR: Tensor, py_NR: Tensor, band: Band, regular: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Scores and occupations of a band; the recursion is that of `reference.solve` on its nodes alone.

    Args:
        px_NR: symbol arcs of the band, float32 or float64, any value where there is none.
        py_NR: blank arcs, likewise.
        band: the nodes.
        regular: whether a symbol stays on its frame.

    Returns:
        score_B (minus infinity where there is no path), px_grad_NR, py_grad_NR (zero there).
    """
    B, R = len(band.x_len_B), band.R
    end_wave_B = band.x_len_B + band.y_len_B if regular else band.x_len_B
    order_B = longest_first(end_wave_B)
    row_B = torch.empty_like(order_B)
    row_B[order_B] = torch.arange(B)
    s_NR = band.start_N[:, None] + torch.arange(R)
    wave_NR = band.frame_N[:, None] + (s_NR if regular else 0)
    # A window may reach past the end of its text, where no arc is usable.
    waves = max([int(wave_NR.max()) if wave_NR.numel() else 0, *end_wave_B.tolist()]) + 1
    position_NR = (row_B[band.utterance_N, None] * waves + wave_NR) * R + s_NR % R

    x_BWR, y_BWR = (torch.full((B, waves, R), LOG_ZERO, dtype=torch.float64) for _ in range(2))
    laid_out = list(zip((x_BWR, y_BWR), (px_NR, py_NR), usable_arcs(band, regular)))
    for arcs_BWR, p_NR, usable_NR in laid_out:
        arcs_NR = torch.where(usable_NR, p_NR.double(), LOG_ZERO).clamp_(min=LOG_ZERO)
        arcs_BWR.view(-1).index_put_((position_NR.view(-1),), arcs_NR.view(-1))
    ends = (end_wave_B[order_B], band.y_len_B[order_B] % R)
    ordered_B, has_path_B = solve_wavefronts(x_BWR, y_BWR, *ends, wraps=True)

    # Arcs that lead nowhere may lie past the last wavefront of their utterance.
    px_grad_NR, py_grad_NR = (
        torch.where(usable_NR, a_BWR.view(-1)[position_NR], 0.0).to(p_NR.dtype) for a_BWR, p_NR, usable_NR in laid_out
    )
    score_B = torch.where(has_path_B, ordered_B, -torch.inf)[row_B]
    # Without frames, the slot of the last node may be that of the first.
    score_B.masked_fill_((band.x_len_B == 0) & (band.y_len_B > 0), -torch.inf)
    return score_B.to(px_NR.dtype), px_grad_NR, py_grad_NR
