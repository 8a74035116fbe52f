"""The activations of `swoosh` and their gradients in one pass each, in Triton, for CUDA.

Numbers are read once, computed in float32 (or float64), and rounded once.
"""

# Kernels take pointers, blocks and compile-time constants, for which Python has no types.
# mypy: allow-untyped-defs, allow-incomplete-defs

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 2048  # numbers per program


@triton.jit
def _positions(n, rows, CHANNELS: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr):
    """The numbers of a program, which of them are there, and where a mask with `CHANNELS` for each `rows` rows has
    theirs."""
    start = tl.program_id(0).to(tl.int64) if WIDE else tl.program_id(0)
    i = start * BLOCK + tl.arange(0, BLOCK)
    row = i // CHANNELS
    return i, i < n, row // rows * CHANNELS + (i - row * CHANNELS)


@triton.jit
def _swoosh(z, SLOPE: tl.constexpr, OFFSET: tl.constexpr, CONSTANT: tl.constexpr):
    """The activation of x where z = x - OFFSET."""
    # exp of a negative number alone cannot overflow.
    return tl.where(z > 0, z, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(z))) - SLOPE * (z + OFFSET) - CONSTANT


@triton.jit(do_not_specialize=["n", "rows"])
def _activation_kernel(
    x_ptr, mask_ptr, y_ptr, n, rows,
    SLOPE: tl.constexpr, OFFSET: tl.constexpr, CONSTANT: tl.constexpr, CHANNELS: tl.constexpr, MASKED: tl.constexpr,
    SUM: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i, inside, at = _positions(n, rows, CHANNELS, WIDE, BLOCK)
    z = tl.load(x_ptr + i, mask=inside, other=0.0).to(SUM) - OFFSET
    y = _swoosh(z, SLOPE, OFFSET, CONSTANT)
    if MASKED:
        y *= tl.load(mask_ptr + at, mask=inside, other=0.0).to(SUM)
    tl.store(y_ptr + i, y, mask=inside)


@triton.jit(do_not_specialize=["n", "rows"])
def _gradient_kernel(
    grad_ptr, x_ptr, mask_ptr, out_ptr, n, rows,
    SLOPE: tl.constexpr, OFFSET: tl.constexpr, CONSTANT: tl.constexpr, CHANNELS: tl.constexpr, MASKED: tl.constexpr,
    SUM: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i, inside, at = _positions(n, rows, CHANNELS, WIDE, BLOCK)
    z = tl.load(x_ptr + i, mask=inside, other=0.0).to(SUM) - OFFSET
    e = tl.exp(-tl.abs(z))
    grad = tl.load(grad_ptr + i, mask=inside, other=0.0).to(SUM) * (tl.where(z > 0, 1.0, e) / (1.0 + e) - SLOPE)
    if MASKED:
        grad *= tl.load(mask_ptr + at, mask=inside, other=0.0).to(SUM)
    tl.store(out_ptr + i, grad, mask=inside)


def _constants(x: Tensor, slope: float, kind: tuple[float, float], mask_B1K: Tensor | None) -> dict[str, object]:
    return {
        "SLOPE": slope,
        "OFFSET": kind[0],
        "CONSTANT": kind[1],
        "CHANNELS": 1 if mask_B1K is None else x.shape[-1],
        "MASKED": mask_B1K is not None,
        "SUM": tl.float64 if x.dtype == torch.float64 else tl.float32,
        "WIDE": x.numel() >= 2**31 - BLOCK,
        "BLOCK": BLOCK,
    }


def activation(x: Tensor, slope: float, kind: tuple[float, float], mask_B1K: Tensor | None, out: Tensor) -> None:
    """out = mask * swoosh(x), of tensors with equal strides and no gaps; with a mask, (B, T, K) and contiguous."""
    rows = 1 if mask_B1K is None else x.shape[1]
    if x.numel():
        _activation_kernel[(triton.cdiv(x.numel(), BLOCK),)](
            x, x if mask_B1K is None else mask_B1K, out, x.numel(), rows, **_constants(x, slope, kind, mask_B1K)
        )


def gradient(
    grad: Tensor, x: Tensor, slope: float, kind: tuple[float, float], mask_B1K: Tensor | None, out: Tensor
) -> None:
    """out = grad * mask * swoosh'(x), of tensors as for `activation`; out may be grad."""
    rows = 1 if mask_B1K is None else x.shape[1]
    if x.numel():
        _gradient_kernel[(triton.cdiv(x.numel(), BLOCK),)](
            grad, x, x if mask_B1K is None else mask_B1K, out, x.numel(), rows,
            **_constants(x, slope, kind, mask_B1K),
        )  # fmt: skip
