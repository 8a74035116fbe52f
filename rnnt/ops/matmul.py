"""Matrix products. On a CPU in float32 they go to oneDNN, which torch's own `mm` does not use there.

On processors with AVX-512 that are not Intel's, oneDNN is 2 to 2.5 times as fast as the library behind `mm`; elsewhere
they are alike. The choice depends on the build of torch alone, so that results repeat bit for bit.

Letters: M rows, K inputs, N outputs.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from rnnt.ops.compiling import is_compiling, is_tracing

ROWS = 1024  # per step, where both sides must be transposed: that is done in the cache


@lru_cache(maxsize=1)
def _has_onednn_linear() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


@lru_cache(maxsize=1)
def _has_onednn_packing() -> bool:
    return _has_onednn_linear() and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")


def autocast_type(device_type: str) -> torch.dtype | None:
    """The type that autocast computes in on a device (cpu or cuda), None where it is off."""
    if hasattr(torch, "get_autocast_dtype"):
        return torch.get_autocast_dtype(device_type) if torch.is_autocast_enabled(device_type) else None
    return torch.get_autocast_cpu_dtype() if torch.is_autocast_cpu_enabled() else None  # torch before 2.4


def _in_float32_on_cpu(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.float32


def _onednn_takes(x: Tensor) -> bool:
    return _in_float32_on_cpu(x) and x.numel() > 0 and _has_onednn_linear()


def can_pack(weight_NK: Tensor) -> bool:
    """Whether `prepack_weight` changes a weight: float32 on a CPU, outside autocast, in a torch with oneDNN."""
    return _onednn_takes(weight_NK) and _has_onednn_packing() and autocast_type("cpu") is None


def prepack_weight(weight_NK: Tensor, rows: int) -> Tensor:
    """The weight in oneDNN's own order, for `linear` alone; unchanged where there is no gain.

    It pays before many products with the same weight.

    Args:
        weight_NK: the weight.
        rows: the usual number of rows of the other side.

    Returns:
        The packed weight, without gradient, or `weight_NK` itself.
    """
    if rows > 0 and can_pack(weight_NK):
        return torch.ops.mkldnn._reorder_linear_weight(weight_NK.detach(), rows)
    return weight_NK


def linear(x_MK: Tensor, weight_NK: Tensor, bias_N: Tensor | None = None) -> Tensor:
    """x weight' + bias, without autograd.

    Args:
        x_MK: contiguous.
        weight_NK: strided in any way, or from `prepack_weight`; of the type of x.
        bias_N: of the same type, or None.

    Returns:
        The product, (M,N).
    """
    if _onednn_takes(x_MK):
        return torch.ops.mkldnn._linear_pointwise(x_MK, weight_NK, bias_N, "none", [], "")
    return torch.nn.functional.linear(x_MK, weight_NK, bias_N)


def add_product_(to_NK: Tensor, x_MN: Tensor, y_MK: Tensor) -> None:
    """to += x' y, where `to` may be of a wider type."""
    if _onednn_takes(x_MN):
        for x, y in zip(x_MN.split(ROWS), y_MK.split(ROWS)):
            to_NK += linear(x.t().contiguous(), y.t())
    elif to_NK.dtype == x_MN.dtype:
        to_NK.addmm_(x_MN.t(), y_MK)
    else:
        to_NK += x_MN.t() @ y_MK


def product_over_rows(x_MN: Tensor, y_MK: Tensor) -> Tensor:
    """x' y: the gradient of a weight, from those of the outputs and from the inputs."""
    if not _onednn_takes(x_MN):
        return x_MN.t() @ y_MK
    first = linear(x_MN[:ROWS].t().contiguous(), y_MK[:ROWS].t())
    if len(x_MN) > ROWS:
        add_product_(first, x_MN[ROWS:], y_MK[ROWS:])
    return first


class _Projection(torch.autograd.Function):
    """`linear` with autograd, for x (...,K)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_NK: Tensor, bias_N: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight_NK)
        return linear(x.flatten(0, -2).contiguous(), weight_NK.contiguous(), bias_N).view(*x.shape[:-1], -1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight_NK = ctx.saved_tensors
        grad_MN = grad.flatten(0, -2).contiguous()
        x_grad = weight_grad_NK = bias_grad_N = None
        if ctx.needs_input_grad[0]:
            x_grad = linear(grad_MN, weight_NK.t().contiguous()).view(x.shape)
        if ctx.needs_input_grad[1]:
            weight_grad_NK = product_over_rows(grad_MN, x.flatten(0, -2))
        if ctx.needs_input_grad[2]:
            bias_grad_N = grad_MN.sum(0)
        return x_grad, weight_grad_NK, bias_grad_N


def projection(x: Tensor, weight_NK: Tensor, bias_N: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear` of x (...,K), with autograd, by the faster products on a CPU in float32.

    Under torch.compile, and where it is traced, it is torch's own: the compiler or the runtime chooses the product.
    The projections before the losses are a good part of their time.
    """
    if is_tracing():  # a product and a sum: what quantises a graph finds the product
        product = x @ weight_NK.t()
        return product if bias_N is None else product + bias_N
    plain = _in_float32_on_cpu(x) and _in_float32_on_cpu(weight_NK) and autocast_type("cpu") is None
    if is_compiling() or not plain or x.dim() < 2 or x.numel() == 0:
        return torch.nn.functional.linear(x, weight_NK, bias_N)
    return _Projection.apply(x, weight_NK, bias_N)
