"""The steps of `kernels` in Triton, for CUDA: the element-wise ones of the joiner loss.

Launches go to the current stream, offsets are 64 bits wide, nothing is read back by the host, and each result is
written by one program, so that it repeats bit for bit. The letters are those of `cpu`.
"""

# Kernels take pointers, blocks and compile-time constants, for which Python has no types.
# mypy: allow-untyped-defs, allow-incomplete-defs

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from rnnt.loss.native.triton_recursion import solve, solve_band

__all__ = ["add_rows_", "hidden", "hidden_grad_", "log_probs", "logit_grads_", "solve", "solve_band"]

ROWS, COLUMNS = 8, 128  # per program of the activation kernels
MOST_VOCAB = 4096  # per step of the vocabulary kernels


@triton.jit
def _dropout_mask(row, column, J, seed, dropout):
    """1 / (1 - dropout) where an activation is kept and 0 where it is dropped, by position within the tile."""
    position = (row[:, None] * J + column[None, :]).to(tl.int32)
    return tl.where(tl.rand(seed, position) >= dropout, 1.0 / (1.0 - dropout), 0.0)


@triton.jit(do_not_specialize=["M", "seed"])
def _hidden_kernel(
    enc_ptr, pred_ptr, frame_ptr, state_ptr, out_ptr, M, J, seed, dropout,
    TANH: tl.constexpr, DROPOUT: tl.constexpr, SUM: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = (row < M)[:, None] & (column < J)[None, :]
    frame = tl.load(frame_ptr + row, mask=row < M, other=0)
    state = tl.load(state_ptr + row, mask=row < M, other=0)
    x = tl.load(enc_ptr + frame[:, None] * J + column[None, :], mask=inside, other=0.0).to(SUM)
    x += tl.load(pred_ptr + state[:, None] * J + column[None, :], mask=inside, other=0.0).to(SUM)
    if TANH:
        # exp of a negative number alone cannot overflow.
        e = tl.exp(-2.0 * tl.abs(x))
        y = (1.0 - e) / (1.0 + e)
        x = tl.where(x < 0, -y, y)
    else:
        x = tl.where(x <= 0, 0.0, x)  # unlike a maximum, this keeps NaN
    if DROPOUT:
        x *= _dropout_mask(row, column, J, seed, dropout)
    tl.store(out_ptr + row[:, None] * J + column[None, :], x, mask=inside)


def _sum_type(dtype: torch.dtype) -> tl.dtype:
    return tl.float64 if dtype == torch.float64 else tl.float32


def hidden(
    enc_XJ: Tensor, pred_YJ: Tensor, frame_M: Tensor, state_M: Tensor, activation: str, dropout: float, seed: int,
    out: Tensor,
) -> Tensor:  # fmt: skip
    """As `cpu.hidden`."""
    M, J = out.shape
    if M > 0:
        _hidden_kernel[(triton.cdiv(M, ROWS), triton.cdiv(J, COLUMNS))](
            enc_XJ, pred_YJ, frame_M, state_M, out, M, J, seed, dropout,
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
    offset = row[:, None] * J + column[None, :]
    grad = tl.load(grad_ptr + offset, mask=inside, other=0.0).to(SUM)
    y = tl.load(hidden_ptr + offset, mask=inside, other=0.0).to(SUM)
    if DROPOUT:
        grad *= _dropout_mask(row, column, J, seed, dropout)
        y *= 1.0 - dropout  # the activation, where it was kept
    if TANH:
        grad *= 1.0 - y * y
    else:
        grad = tl.where(y <= 0, 0.0, grad)
    tl.store(grad_ptr + offset, grad, mask=inside)


def hidden_grad_(grad_MJ: Tensor, hidden_MJ: Tensor, activation: str, dropout: float, seed: int) -> Tensor:
    """As `cpu.hidden_grad_`."""
    M, J = grad_MJ.shape
    if M > 0:
        _hidden_grad_kernel[(triton.cdiv(M, ROWS), triton.cdiv(J, COLUMNS))](
            grad_MJ, hidden_MJ, M, J, seed, dropout,
            TANH=activation == "tanh", DROPOUT=dropout > 0, SUM=_sum_type(grad_MJ.dtype), ROWS=ROWS, COLUMNS=COLUMNS,
        )  # fmt: skip
    return grad_MJ


@triton.jit
def _log_normalizer(base_ptr, V: tl.constexpr, SUM: tl.constexpr, BLOCK: tl.constexpr):
    """The logarithm of the sum of the exponentials of a row of logits, in one pass over it."""
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
    """As `cpu.log_probs`, of logits in any float type, which it does not change."""
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
    """As `cpu.logit_grads_`, of logits in any float type; the gradients have the same type."""
    M, V = logits_MV.shape
    if M > 0:
        _logit_grads_kernel[(M,)](
            logits_MV, symbol_M, symbol_grad_M, blank_grad_M, V, blank,
            SUM=_sum_type(logits_MV.dtype), BLOCK=_vocab_block(V),
        )  # fmt: skip
    return logits_MV


@triton.jit
def _add_rows_kernel(
    to_ptr, x_ptr, order_ptr, first_ptr, J,
    SUM: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """to[row] += the sum of its rows of x: order[first[row]], order[first[row] + 1] ..."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    m = tl.load(first_ptr + row)
    end = tl.load(first_ptr + row + 1)
    total = tl.zeros((COLUMNS,), SUM)
    found = m < end
    while m < end:
        k = m + tl.arange(0, ROWS)
        source = tl.load(order_ptr + k, mask=k < end, other=0)
        inside = (k < end)[:, None] & (column < J)[None, :]
        total += tl.sum(tl.load(x_ptr + source[:, None] * J + column[None, :], mask=inside, other=0.0).to(SUM), 0)
        m += ROWS
    if found:
        to = to_ptr + row * J + column
        tl.store(to, tl.load(to, mask=column < J, other=0.0) + total, mask=column < J)


def add_rows_(to_NJ: Tensor, row_M: Tensor, x_MJ: Tensor, in_order: bool = False) -> None:
    """As `cpu.add_rows_`. Without atomic additions, whose order varies."""
    N, J = to_NJ.shape
    if in_order:
        sorted_M, order_M = row_M, torch.arange(len(row_M), device=row_M.device)
    else:
        sorted_M, order_M = row_M.sort(stable=True)
    first_N1 = torch.searchsorted(sorted_M, torch.arange(N + 1, device=row_M.device))
    if N > 0:
        _add_rows_kernel[(N, triton.cdiv(J, COLUMNS))](
            to_NJ, x_MJ, order_M, first_N1, J, SUM=_sum_type(to_NJ.dtype), ROWS=ROWS, COLUMNS=COLUMNS
        )
