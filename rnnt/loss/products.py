"""Matrix products. On a CPU in float32 they go to oneDNN, of which torch's own `mm` makes no use there.

On processors with AVX-512 that are not Intel's, oneDNN is 2 to 2.5 times as fast as the library behind `mm`; elsewhere
they are alike. Which one is taken depends on the build of torch alone, so that results repeat bit for bit.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from .compiling import is_compiling

ROWS = 1024  # at a time, where both sides must be transposed: that is done in the cache


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
    """Whether `packed` changes the order of a weight: float32 on a CPU, outside autocast, in a torch with oneDNN."""
    return _onednn_takes(weight_NK) and _has_onednn_packing() and autocast_type("cpu") is None


def packed(weight_NK: Tensor, rows: int) -> Tensor:
    """The weight in the order in which oneDNN wants it, for `linear` alone; as it is where there is no gain.

    Worth it before many products with the same weight; `rows` is the usual number of rows of the other side.
    """
    if rows > 0 and can_pack(weight_NK):
        return torch.ops.mkldnn._reorder_linear_weight(weight_NK.detach(), rows)
    return weight_NK


def linear(x_MK: Tensor, weight_NK: Tensor, bias_N: Tensor | None = None) -> Tensor:
    """x weight' + bias, (M,N). x contiguous, the weight strided in any way or `packed`, all of one type."""
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


class _Projection(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight_EK, bias_E):
        ctx.save_for_backward(x, weight_EK)
        return linear(x.flatten(0, -2).contiguous(), weight_EK.contiguous(), bias_E).view(*x.shape[:-1], -1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        x, weight_EK = ctx.saved_tensors
        grad_ME = grad.flatten(0, -2).contiguous()
        x_grad = weight_grad_EK = bias_grad_E = None
        if ctx.needs_input_grad[0]:
            x_grad = linear(grad_ME, weight_EK.t().contiguous()).view(x.shape)
        if ctx.needs_input_grad[1]:
            weight_grad_EK = torch.zeros_like(weight_EK)
            add_product_(weight_grad_EK, grad_ME, x.flatten(0, -2))
        if ctx.needs_input_grad[2]:
            bias_grad_E = grad_ME.sum(0)
        return x_grad, weight_grad_EK, bias_grad_E


def projection(x: Tensor, weight_EK: Tensor, bias_E: Tensor | None = None) -> Tensor:
    """torch.nn.functional.linear of x (...,K), with autograd: by the faster products on a CPU in float32.

    torch.compile gets torch's own, of which it chooses the product itself.
    For the projections before the losses, which are a good part of their time.
    """
    plain = _in_float32_on_cpu(x) and _in_float32_on_cpu(weight_EK) and autocast_type("cpu") is None
    if not plain or x.dim() < 2 or x.numel() == 0 or is_compiling():
        return torch.nn.functional.linear(x, weight_EK, bias_E)
    return _Projection.apply(x, weight_EK, bias_E)
