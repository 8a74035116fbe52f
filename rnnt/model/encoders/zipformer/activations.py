"""The activations of the Zipformer, and a linear layer behind one. Autograd keeps their inputs alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rnnt.model.regularisers.dropout import ScheduledDropout
from rnnt.model.regularisers.schedule import Schedule
from rnnt.ops.compiling import is_tracing
from rnnt.ops.matmul import autocast_type, linear, product_over_rows
from rnnt.ops.swoosh import RIGHT, swoosh, swoosh_grad


class _Swoosh(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kind: tuple[float, float]) -> Tensor:
        ctx.save_for_backward(x)
        ctx.kind = kind
        return swoosh(x, kind)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return swoosh_grad(grad, x, ctx.kind), None


class SwooshR(nn.Module):
    """SwooshR of a tensor of any shape."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return swoosh(x, RIGHT) if is_tracing() else _Swoosh.apply(x, RIGHT)


class _SwooshLinear(torch.autograd.Function):
    """weight (dropout * swoosh(x)) + bias, which keeps x and computes the activation again."""

    @staticmethod
    def forward(
        ctx: Any, x_BTK: Tensor, weight_NK: Tensor, bias_N: Tensor, mask_B1K: Tensor | None, kind: tuple[float, float]
    ) -> Tensor:
        ctx.save_for_backward(x_BTK, weight_NK, mask_B1K)
        ctx.kind, ctx.types = kind, (weight_NK.dtype, bias_N.dtype)
        y_BTK = swoosh(x_BTK, kind, mask_B1K)
        rows = linear(y_BTK.flatten(0, 1), weight_NK.to(x_BTK.dtype), bias_N.to(x_BTK.dtype))
        return rows.view(*x_BTK.shape[:2], -1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_BTN: Tensor) -> tuple[Tensor | None, ...]:
        x_BTK, weight_NK, mask_B1K = ctx.saved_tensors
        weight_type, bias_type = ctx.types
        grad_BTN = grad_BTN.to(x_BTK.dtype)
        grad_MN = grad_BTN.flatten(0, 1).contiguous()
        y_BTK = swoosh(x_BTK, ctx.kind, mask_B1K)
        weight_grad_NK = product_over_rows(grad_MN, y_BTK.flatten(0, 1))
        x_grad_MK = linear(grad_MN, weight_NK.to(x_BTK.dtype).t().contiguous())
        x_grad_BTK = swoosh_grad(x_grad_MK.view_as(x_BTK), x_BTK, ctx.kind, mask_B1K, out=y_BTK)
        return x_grad_BTK, weight_grad_NK.to(weight_type), grad_MN.sum(0, dtype=bias_type), None, None


def swoosh_linear(
    x_BTK: Tensor, weight_NK: Tensor, bias_N: Tensor, kind: tuple[float, float], mask_B1K: Tensor | None = None
) -> Tensor:
    """weight (mask * swoosh(x)) + bias, in half precision under autocast: (B, T, K) -> (B, T, N)."""
    if is_tracing():
        return torch.nn.functional.linear(swoosh(x_BTK, kind), weight_NK, bias_N)
    half = autocast_type(x_BTK.device.type)
    x_BTK = x_BTK if half is None else x_BTK.to(half)
    mask_B1K = None if mask_B1K is None else mask_B1K.to(x_BTK.dtype)
    return _SwooshLinear.apply(x_BTK, weight_NK, bias_N, mask_B1K, kind)


class SwooshLinear(nn.Linear):
    """Activation, dropout of channels of an utterance, linear layer: (B, T, K) -> (B, T, N).

    Args:
        kind: LEFT or RIGHT.
        init_scale: factor on the first weights.
        dropout: of the activations.
    """

    def __init__(
        self, inputs: int, outputs: int, kind: tuple[float, float], init_scale: float, dropout: Schedule | float = 0.0
    ) -> None:
        super().__init__(inputs, outputs)
        scale_first_weights(self, init_scale)
        self.kind = kind
        self.dropout = ScheduledDropout(dropout)

    def forward(self, x_BTK: Tensor) -> Tensor:
        """(B, T, K) -> (B, T, N)."""
        return swoosh_linear(x_BTK, self.weight, self.bias, self.kind, self.dropout.mask(x_BTK))


@torch.no_grad()
def scale_first_weights(layer: nn.Linear | nn.Conv1d | nn.Conv2d, scale: float) -> None:
    """Multiply torch's first weights by `scale`, and draw the bias uniformly within 0.1 times that."""
    layer.weight.mul_(scale)
    if layer.bias is not None:
        nn.init.uniform_(layer.bias, -0.1 * scale, 0.1 * scale)
