"""The recursion in Triton: one program per utterance walks the frames forward and back in a single launch.

Each lane is a state of the band. On a frame, symbols of a regular lattice lead from lane to lane, which is a linear
recurrence and so an associative scan: in the log semiring forward, in plain arithmetic backward. All scores are
float64. Nothing is read back by the host, launches go to the current stream, and offsets are 64 bits wide.
"""

# Kernels take pointers, blocks and compile-time constants, for which Python has no types.
# mypy: allow-untyped-defs, allow-incomplete-defs

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from rnnt.loss.native.band import Band, pack, usable_arcs
from rnnt.loss.native.wavefront import LOG_ZERO, SMALLEST_OCCUPATION

_LOG_ZERO = tl.constexpr(LOG_ZERO)
_SMALLEST = tl.constexpr(SMALLEST_OCCUPATION)


@triton.jit
def _log_add(a, b):
    # Unlike maximum and minimum of the hardware, neither loses a NaN.
    return tl.where(a < b, b, a) + tl.log(1.0 + tl.exp(-tl.abs(a - b)))


@triton.jit
def _ratio(x):
    """exp(x), at most 1; NaN of NaN."""
    return tl.exp(tl.where(x > 0.0, 0.0, x))


@triton.jit
def _compose_log(arc_left, score_left, arc_right, score_right):
    """The map score -> log(exp(score + arc) + exp(own score)) of one lane after that of another."""
    return arc_left + arc_right, _log_add(score_left + arc_right, score_right)


@triton.jit
def _compose_linear(weight_left, g_left, weight_right, g_right):
    """The map g -> weight * g + own g of one lane after that of another."""
    return weight_left * weight_right, g_left * weight_right + g_right


@triton.jit
def _solve_kernel(
    px_ptr, py_ptr, start_ptr, first_ptr, frames_ptr, symbols_ptr,
    a_ptr, g_ptr, px_grad_ptr, py_grad_ptr, score_ptr,
    R, REGULAR: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Scores and occupations of the band of one utterance; frames of all are packed, R nodes each."""
    b = tl.program_id(0)
    first = tl.load(first_ptr + b)
    frames = tl.load(frames_ptr + b).to(tl.int32)
    symbols = tl.load(symbols_ptr + b).to(tl.int32)
    j = tl.arange(0, LANES)
    inside = j < R

    t = tl.full((), 0, tl.int32)
    while t < frames:
        row = (first + t) * R
        before = row - R
        entered = t > 0
        up = tl.load(start_ptr + first + t) - tl.load(start_ptr + first + t - 1, mask=entered, other=0)
        # The node that a blank comes from is `up` lanes higher: the window has moved up by this many.
        i = j + up.to(tl.int32)
        valid = inside & (i < R) & entered
        score = tl.load(a_ptr + before + i, mask=valid, other=_LOG_ZERO)
        score += tl.load(py_ptr + before + i, mask=valid, other=_LOG_ZERO)
        if not REGULAR:
            valid = inside & (i > 0) & (i <= R) & entered
            other = tl.load(a_ptr + before + i - 1, mask=valid, other=_LOG_ZERO)
            other += tl.load(px_ptr + before + i - 1, mask=valid, other=_LOG_ZERO)
            score = _log_add(score, other)
        score = tl.where(entered, score, tl.where(j == 0, 0.0, _LOG_ZERO))
        if REGULAR:
            arc = tl.load(px_ptr + row + j - 1, mask=inside & (j > 0), other=_LOG_ZERO)
            arc, score = tl.associative_scan((arc, score), 0, _compose_log)
        tl.store(a_ptr + row + j, tl.where(score < _LOG_ZERO, _LOG_ZERO, score), mask=inside)
        tl.debug_barrier()  # the next frame reads what other lanes have written
        t += 1

    last = (first + frames - 1) * R
    last_lane = symbols - tl.load(start_ptr + first + frames - 1, mask=frames > 0, other=0).to(tl.int32)
    known = (frames > 0) & (last_lane >= 0) & (last_lane < R)
    end = tl.load(a_ptr + last + last_lane, mask=known, other=_LOG_ZERO)
    end += tl.load(py_ptr + last + last_lane, mask=known, other=_LOG_ZERO)
    if not REGULAR:
        known = (frames > 0) & (last_lane > 0) & (last_lane <= R)
        end_symbol = tl.load(a_ptr + last + last_lane - 1, mask=known, other=_LOG_ZERO)
        end_symbol += tl.load(px_ptr + last + last_lane - 1, mask=known, other=_LOG_ZERO)
        end = _log_add(end, end_symbol)
    end = tl.where((frames == 0) & (symbols == 0), 0.0, end)
    no_path = end <= _LOG_ZERO / 2
    tl.store(score_ptr + b, tl.where(no_path, float("-inf"), end))
    g_end = tl.where(no_path, 0.0, 1.0)

    t = frames - 1
    while t >= 0:
        row = (first + t) * R
        after = row + R
        is_last = t == frames - 1
        next_start = tl.load(start_ptr + first + t + 1, mask=t < frames - 1, other=0)
        i = j - (next_start - tl.load(start_ptr + first + t)).to(tl.int32)
        a = tl.load(a_ptr + row + j, mask=inside, other=_LOG_ZERO)
        blank = tl.load(py_ptr + row + j, mask=inside, other=_LOG_ZERO)
        symbol = tl.load(px_ptr + row + j, mask=inside, other=_LOG_ZERO)

        valid = inside & (i >= 0) & (i < R) & (t < frames - 1)
        a_end = tl.where(is_last, end, tl.load(a_ptr + after + i, mask=valid, other=0.0))
        g_end_of_arc = tl.load(g_ptr + after + i, mask=valid, other=0.0)
        g_end_of_arc = tl.where(is_last, tl.where(j == last_lane, g_end, 0.0), g_end_of_arc)
        by_blank = _ratio(a + blank - a_end) * g_end_of_arc
        if REGULAR:
            a_next = tl.load(a_ptr + row + j + 1, mask=j + 1 < R, other=0.0)
            weight = tl.where(j + 1 < R, _ratio(a + symbol - a_next), 0.0)
            weight, g = tl.associative_scan((weight, by_blank), 0, _compose_linear, reverse=True)
            by_symbol = g - by_blank
        else:
            valid = inside & (i + 1 >= 0) & (i + 1 < R) & (t < frames - 1)
            a_end = tl.where(is_last, end, tl.load(a_ptr + after + i + 1, mask=valid, other=0.0))
            g_end_of_arc = tl.load(g_ptr + after + i + 1, mask=valid, other=0.0)
            g_end_of_arc = tl.where(is_last, tl.where(j + 1 == last_lane, g_end, 0.0), g_end_of_arc)
            by_symbol = _ratio(a + symbol - a_end) * g_end_of_arc
            g = by_blank + by_symbol
        tl.store(g_ptr + row + j, g, mask=inside)
        tl.store(py_grad_ptr + row + j, tl.where(by_blank < _SMALLEST, 0.0, by_blank), mask=inside)
        tl.store(px_grad_ptr + row + j, tl.where(by_symbol < _SMALLEST, 0.0, by_symbol), mask=inside)
        tl.debug_barrier()
        t -= 1


def solve_band(px_NR: Tensor, py_NR: Tensor, band: Band, regular: bool) -> tuple[Tensor, Tensor, Tensor]:
    """As `band.solve_band`."""
    device, R = px_NR.device, band.R
    symbol_NR, blank_NR = usable_arcs(band, regular)
    px_NR, py_NR = (
        torch.where(usable, p.double(), LOG_ZERO).clamp_(min=LOG_ZERO).contiguous()
        for usable, p in ((symbol_NR, px_NR), (blank_NR, py_NR))
    )
    a_NR, g_NR, px_grad_NR, py_grad_NR = (torch.empty_like(px_NR) for _ in range(4))
    B = len(band.x_len_B)
    score_B = px_NR.new_empty(B)
    first_B = band.x_len_B.cumsum(0) - band.x_len_B
    lengths = (n.contiguous().to(device, non_blocking=True) for n in (first_B, band.x_len_B, band.y_len_B))
    lanes = max(2, triton.next_power_of_2(R))
    _solve_kernel[(B,)](
        px_NR, py_NR, band.start_N, *lengths, a_NR, g_NR, px_grad_NR, py_grad_NR, score_B,
        R, REGULAR=regular, LANES=lanes, num_warps=min(max(lanes // 32, 1), 8),
    )  # fmt: skip
    return score_B, px_grad_NR, py_grad_NR


def solve(px: Tensor, py: Tensor, s_len_B: Tensor, t_len_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As `cpu.solve`: the complete lattice is the band of all states, and a symbol may come after the last blank.

    For the latter (regular only) there is one frame more, whose blank is free.
    """
    S, T = px.shape[1], py.shape[2]
    regular = px.shape[2] == T + 1
    frames_B = t_len_B + 1 if regular else t_len_B
    band = pack(None, S + 1, frames_B, s_len_B, px.device)
    at = (band.utterance_N, slice(None), band.frame_N)
    px_NR = torch.nn.functional.pad(px, (0, 0, 0, 1), value=-torch.inf)[at]
    py_NR = py[band.utterance_N, :, band.frame_N.clamp(max=T - 1)] if T > 0 else px_NR.new_zeros(px_NR.shape)
    if regular:
        extra_N1 = (band.frame_N == t_len_B.to(px.device, non_blocking=True)[band.utterance_N])[:, None]
        py_NR = py_NR.masked_fill(extra_N1, 0.0)
    score_B, px_grad_NR, py_grad_NR = solve_band(px_NR, py_NR, band, regular)
    if regular:
        py_grad_NR.masked_fill_(extra_N1, 0.0)
    px_grad = torch.zeros_like(px).contiguous()
    py_grad = px.new_zeros(px.shape[0], S + 1, px.shape[2])
    px_grad[at] = px_grad_NR[:, :S].to(px.dtype)
    py_grad[at] = py_grad_NR.to(px.dtype)
    return score_B.to(px.dtype), px_grad, py_grad[:, :, :T]
