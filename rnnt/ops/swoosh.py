"""The Swoosh activations and their derivatives, without autograd: by PyTorch, and on CUDA by Triton in one pass.

    SwooshL(x) = log(1 + exp(x - 4)) - 0.08 x - 0.035
    SwooshR(x) = log(1 + exp(x - 1)) - 0.08 x - 0.313261687, which is 0 at 0

Both may be multiplied by a mask (B, 1, K) where x is (B, T, K), as of dropout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rnnt.ops.compiling import is_compiling, is_tracing

if TYPE_CHECKING:
    from types import ModuleType

SLOPE = 0.08
LEFT = (4.0, 0.035)  # offset and constant
RIGHT = (1.0, 0.313261687)


def _kernels(x: Tensor) -> ModuleType | None:
    """Triton's kernels for a tensor of CUDA. What is compiled is left to the compiler."""
    if x.device.type != "cuda" or is_compiling():
        return None
    from rnnt.ops import triton_swoosh

    return triton_swoosh


def swoosh(x: Tensor, kind: tuple[float, float], mask_B1K: Tensor | None = None) -> Tensor:
    """The activation times the mask; kind is LEFT or RIGHT."""
    if is_tracing():
        return torch.nn.functional.softplus(x - kind[0]) - SLOPE * x - kind[1]
    kernels = _kernels(x)
    if kernels is not None:
        x = _dense(x, mask_B1K)
        y = torch.empty_like(x)
        kernels.activation(x, SLOPE, kind, mask_B1K, y)
        return y
    offset, constant = kind
    y = x - offset
    y = torch.ops.aten.softplus.out(y, out=y).add_(x, alpha=-SLOPE).sub_(constant)
    return y if mask_B1K is None else y.mul_(mask_B1K)


def swoosh_grad(
    grad: Tensor, x: Tensor, kind: tuple[float, float], mask_B1K: Tensor | None = None, out: Tensor | None = None
) -> Tensor:
    """The gradient of x from that of `swoosh`: grad mask (sigmoid(x - offset) - 0.08).

    Args:
        grad: of the shape and type of x.
        x: as for `swoosh`.
        kind: LEFT or RIGHT.
        mask_B1K: the mask, if there is one.
        out: memory for the result, strided as x, if there is some.
    """
    kernels = _kernels(x)
    if kernels is not None:
        x = _dense(x, mask_B1K)
        if grad.stride() != x.stride():
            grad = torch.empty_like(x).copy_(grad)
        if out is None or out.stride() != x.stride():
            out = torch.empty_like(x)
        kernels.gradient(grad, x, SLOPE, kind, mask_B1K, out)
        return out
    slope = torch.sub(x, kind[0], out=out).sigmoid_().sub_(SLOPE)
    return slope.mul_(grad) if mask_B1K is None else slope.mul_(grad).mul_(mask_B1K)


def _dense(x: Tensor, mask_B1K: Tensor | None) -> Tensor:
    """x with its numbers next to each other, in the order of (B, T, K) where there is a mask."""
    if mask_B1K is not None:
        assert mask_B1K.is_contiguous()
        return x.contiguous()
    return x if torch.empty_like(x).stride() == x.stride() else x.contiguous()
