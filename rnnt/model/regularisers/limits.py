"""Limits: gradients that push parameters and activations back into their range, or are made smaller."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rnnt.model.regularisers import chance

LIMIT_PROBABILITY = 0.6


def limited(parameter: Tensor, smallest: float, largest: float) -> Tensor:
    """The parameter itself; of its gradient, what would take it further out of [smallest, largest] changes its sign.

    For use in training, where that is done on six calls in ten.
    """
    if not chance.happens(LIMIT_PROBABILITY):
        return parameter
    return _Limit.apply(parameter, smallest, largest)


class _Limit(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, smallest: float, largest: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.limits = smallest, largest
        return x.view_as(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        smallest, largest = ctx.limits
        outwards = ((grad > 0) & (x < smallest)) | ((grad < 0) & (x > largest))
        return torch.where(outwards, -grad, grad), None, None


class ScaleGradient(nn.Module):
    """Returns x unchanged; in training its gradient is multiplied by `scale`."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; returns x."""
        return _Scale.apply(x, self.scale) if self.training else x


class _Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.scale, None


def penalised_above(x: Tensor, limit: float, penalty: float) -> Tensor:
    """x unchanged, with the gradient that it would have if penalty * sum(max(|x| - limit, 0)) were added to the loss.

    `penalty` is for the loss as it is differentiated: see `Scheduled.loss_scale`.
    """
    return _Penalise.apply(x, limit, penalty)


class _Penalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, limit: float, penalty: float) -> Tensor:
        ctx.save_for_backward((x > limit).to(torch.int8) - (x < -limit).to(torch.int8))
        ctx.penalty = penalty
        return x.view_as(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (sign,) = ctx.saved_tensors
        return torch.add(grad, sign.to(grad.dtype), alpha=ctx.penalty), None, None
