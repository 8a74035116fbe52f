"""The element-wise steps of the joiner loss on rows of a tile, in Triton: the functions of kernels_cpu for CUDA.

Launches go to the current stream, offsets are 64 bits wide, nothing is read back by the host, and each result is
written by one program, so that it repeats bit for bit.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .recursion_triton import solve, solve_band

__all__ = ["add_rows_", "hidden", "hidden_grad_", "log_probs", "logit_grads_", "solve", "solve_band"]

ROWS, COLUMNS = 8, 128  # of a program of the activation kernels
MOST_VOCAB = 4096  # of a step of the vocabulary kernels


@triton.jit
def _kept(row, column, J, seed, dropout):
    """1 / (1 - dropout) where an activation is kept and 0 where it is dropped, by place within the tile."""
    place = (row[:, None] * J + column[None, :]).to(tl.int32)
    return tl.where(tl.rand(seed, place) >= dropout, 1.0 / (1.0 - dropout), 0.0)


@triton.jit(do_not_specialize=["M", "seed"])
def _hidden_kernel(
    enc_ptr, pred_ptr, frame_ptr, context_ptr, out_ptr, M, J, seed, dropout,
    TANH: tl.constexpr, DROPOUT: tl.constexpr, SUM: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = (row < M)[:, None] & (column < J)[None, :]
    frame = tl.load(frame_ptr + row, mask=row < M, other=0)
    context = tl.load(context_ptr + row, mask=row < M, other=0)
    x = tl.load(enc_ptr + frame[:, None] * J + column[None, :], mask=inside, other=0.0).to(SUM)
    x += tl.load(pred_ptr + context[:, None] * J + column[None, :], mask=inside, other=0.0).to(SUM)
    if TANH:
        # exp of a negative number alone cannot overflow.
        e = tl.exp(-2.0 * tl.abs(x))
        y = (1.0 - e) / (1.0 + e)
        x = tl.where(x < 0, -y, y)
    else:
        x = tl.maximum(x, 0.0)
    if DROPOUT:
        x *= _kept(row, column, J, seed, dropout)
    tl.store(out_ptr + row[:, None] * J + column[None, :], x, mask=inside)


def _sum_type(dtype: torch.dtype):
    return tl.float64 if dtype == torch.float64 else tl.float32


def hidden(
    enc_NJ: Tensor, pred_NJ: Tensor, frame_M: Tensor, context_M: Tensor, activation: str, dropout: float, seed: int,
    out: Tensor,
) -> Tensor:  # fmt: skip
    """As kernels_cpu.hidden."""
    M, J = out.shape
    if M > 0:
        _hidden_kernel[(triton.cdiv(M, ROWS), triton.cdiv(J, COLUMNS))](
            enc_NJ, pred_NJ, frame_M, context_M, out, M, J, seed, dropout,
            TANH=activation == "tanh", DROPOUT=dropout > 0, SUM=_sum_type(out.dtype), ROWS=ROWS, COLUMNS=COLUMNS,
        )  # fmt: skip
    return out


@triton.jit(do_not_specialize=["M", "seed"])
def _hidden_grad_kernel(
    grad_ptr, hidden_ptr, M, J, seed, dropout,
    TANH: tl.constexpr, DROPOUT: tl.constexpr, SUM: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = (row < M)[:, None] & (column < J)[None, :]
    place = row[:, None] * J + column[None, :]
    grad = tl.load(grad_ptr + place, mask=inside, other=0.0).to(SUM)
    y = tl.load(hidden_ptr + place, mask=inside, other=0.0).to(SUM)
    if DROPOUT:
        grad *= _kept(row, column, J, seed, dropout)
        y *= 1.0 - dropout  # the activation, where it was kept
    if TANH:
        grad *= 1.0 - y * y
    else:
        grad = tl.where(y > 0, grad, 0.0)
    tl.store(grad_ptr + place, grad, mask=inside)


def hidden_grad_(grad_MJ: Tensor, hidden_MJ: Tensor, activation: str, dropout: float, seed: int) -> Tensor:
    """As kernels_cpu.hidden_grad_."""
    M, J = grad_MJ.shape
    if M > 0:
        _hidden_grad_kernel[(triton.cdiv(M, ROWS), triton.cdiv(J, COLUMNS))](
            grad_MJ, hidden_MJ, M, J, seed, dropout,
            TANH=activation == "tanh", DROPOUT=dropout > 0, SUM=_sum_type(grad_MJ.dtype), ROWS=ROWS, COLUMNS=COLUMNS,
        )  # fmt: skip
    return grad_MJ


@triton.jit
def _log_normalizer(base_ptr, V: tl.constexpr, SUM: tl.constexpr, BLOCK: tl.constexpr):
    """The logarithm of the sum of exponentials of a row, in one pass over it."""
    largest = tl.full((), float("-inf"), SUM)
    total = tl.full((), 0.0, SUM)
    for v in range(0, V, BLOCK):
        column = v + tl.arange(0, BLOCK)
        x = tl.load(base_ptr + column, mask=column < V, other=float("-inf")).to(SUM)
        larger = tl.maximum(largest, tl.max(x, 0))
        total = total * tl.exp(largest - larger) + tl.sum(tl.exp(x - larger), 0)
        largest = larger
    return largest + tl.log(total)


@triton.jit
def _log_probs_kernel(
    logits_ptr,
    symbol_ptr,
    symbol_out_ptr,
    blank_out_ptr,
    V: tl.constexpr,
    blank,
    SUM: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    base_ptr = logits_ptr + row * V
    Z = _log_normalizer(base_ptr, V, SUM, BLOCK)
    tl.store(symbol_out_ptr + row, tl.load(base_ptr + tl.load(symbol_ptr + row)).to(SUM) - Z)
    tl.store(blank_out_ptr + row, tl.load(base_ptr + blank).to(SUM) - Z)


def _vocab_block(V: int) -> int:
    return min(triton.next_power_of_2(V), MOST_VOCAB)


def log_probs(logits_MV: Tensor, symbol_M: Tensor, blank: int) -> tuple[Tensor, Tensor]:
    """As kernels_cpu.log_probs, of logits in any float type; they stay as they are."""
    M, V = logits_MV.shape
    kind = torch.float64 if logits_MV.dtype == torch.float64 else torch.float32
    at_symbol_M, at_blank_M = (torch.empty(M, dtype=kind, device=logits_MV.device) for _ in range(2))
    if M > 0:
        _log_probs_kernel[(M,)](
            logits_MV, symbol_M, at_symbol_M, at_blank_M, V, blank, SUM=_sum_type(kind), BLOCK=_vocab_block(V)
        )
    return at_symbol_M, at_blank_M


@triton.jit
def _logit_grads_kernel(
    logits_ptr,
    symbol_ptr,
    symbol_grad_ptr,
    blank_grad_ptr,
    V: tl.constexpr,
    blank,
    SUM: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    base_ptr = logits_ptr + row * V
    Z = _log_normalizer(base_ptr, V, SUM, BLOCK)
    symbol = tl.load(symbol_ptr + row)
    symbol_grad = tl.load(symbol_grad_ptr + row)
    blank_grad = tl.load(blank_grad_ptr + row)
    for v in range(0, V, BLOCK):
        column = v + tl.arange(0, BLOCK)
        x = tl.load(base_ptr + column, mask=column < V, other=float("-inf")).to(SUM)
        grad = -(symbol_grad + blank_grad) * tl.exp(x - Z)
        grad += tl.where(column == symbol, symbol_grad, 0.0) + tl.where(column == blank, blank_grad, 0.0)
        tl.store(base_ptr + column, grad, mask=column < V)


def logit_grads_(
    logits_MV: Tensor, symbol_M: Tensor, blank: int, symbol_grad_M: Tensor, blank_grad_M: Tensor
) -> Tensor:
    """As kernels_cpu.logit_grads_, of logits in any float type; the gradients are in the same."""
    M, V = logits_MV.shape
    if M > 0:
        _logit_grads_kernel[(M,)](
            logits_MV, symbol_M, symbol_grad_M, blank_grad_M, V, blank,
            SUM=_sum_type(logits_MV.dtype), BLOCK=_vocab_block(V),
        )  # fmt: skip
    return logits_MV


def add_rows_(to_NJ: Tensor, row_M: Tensor, x_MJ: Tensor) -> None:
    """As kernels_cpu.add_rows_. Unlike index_add_, this sorts and so has no atomic additions, whose order varies."""
    to_NJ.index_put_((row_M,), x_MJ.to(to_NJ.dtype), accumulate=True)
