"""The balancer: keeps the mean and the size of each channel within limits, by way of the gradient."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from rnnt.model.regularisers import chance
from rnnt.model.regularisers.schedule import Schedule, Scheduled

PROBABILITY = Schedule(((0.0, 0.5), (8000.0, 0.125)), default=0.4)
SMALLEST = 1e-20


class Balancer(Scheduled):
    """Returns x unchanged. In training, on a fraction of the calls, adds a term to the gradient.

    For each channel over all other dimensions, with m = mean / std and r = root mean square,

        penalty = |m - clamp(m, min_mean, max_mean)| + |log(clamp(r, min_rms, max_rms) / r)|

    g = d penalty / dx is scaled to the root mean square `grad_scale` per channel, and the incoming gradient G becomes
    G + |G| g. A channel within its limits has g = 0. Statistics are those of all frames of the micro-batch.

    Args:
        dim: the dimension of x that counts channels.
        min_positive, max_positive: limits of the proportion of positive numbers, taken as limits of m by an
            approximate inverse of the error function.
        min_abs, max_abs: limits of the mean absolute value, taken as limits of r as if numbers were normal.
        grad_scale: size of g.
        probability: of a call being changed.
    """

    def __init__(
        self,
        dim: int = -1,
        min_positive: Schedule | float = 0.05,
        max_positive: Schedule | float = 0.95,
        min_abs: Schedule | float = 0.2,
        max_abs: Schedule | float = 100.0,
        grad_scale: float = 0.04,
        probability: Schedule | float = PROBABILITY,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.min_positive, self.max_positive = min_positive, max_positive
        self.min_abs, self.max_abs = min_abs, max_abs
        self.grad_scale = grad_scale
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; returns x."""
        if not self.training or not x.requires_grad or not chance.happens(self.now(self.probability)):
            return x
        limits = (
            _mean_limit(self.now(self.min_positive)),
            _mean_limit(self.now(self.max_positive)),
            _rms_limit(self.now(self.min_abs)),
            _rms_limit(self.now(self.max_abs)),
        )
        return _Balance.apply(x, limits, self.grad_scale, self.dim % x.dim())


def _mean_limit(positive: float) -> float:
    """A limit of the proportion of positive numbers as one of mean / std."""
    x, eps = 2 * positive - 1, 1e-10
    return 0.8139535143 * (math.log(1 + x + eps) - math.log(1 - x + eps)) / 2


def _rms_limit(absolute: float) -> float:
    """A limit of the mean absolute value as one of the root mean square: sqrt(pi / 2) for normal numbers."""
    return 1.25331413732 * absolute


class _Balance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, limits: tuple[float, ...], grad_scale: float, dim: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.limits, ctx.grad_scale, ctx.dim = limits, grad_scale, dim
        return x.view_as(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        x = x.float()
        mean, a, c = _slopes(x, ctx.limits, ctx.grad_scale, ctx.dim)
        added = (x - mean).mul_(a).add_(c).mul_(grad.abs())
        return grad + added.to(grad.dtype), None, None, None


def _slopes(x: Tensor, limits: tuple[float, ...], grad_scale: float, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Per channel (u, a, c) such that the scaled gradient of the penalty is g = a (x - u) + c.

    With n numbers, mean u, standard deviation s and mean square q = s^2 + u^2, dm/dx = (1/s - u (x - u) / s^3) / n and
    d log r / dx = x / (q n). Where a floor of `SMALLEST` holds, the floored quantity counts as constant.
    """
    min_mean, max_mean, min_rms, max_rms = limits
    dims = [i for i in range(x.dim()) if i != dim]
    n = x.numel() // x.shape[dim]
    variance, u = torch.var_mean(x, dim=dims, correction=0, keepdim=True)
    q = variance + u * u
    s = variance.clamp(min=SMALLEST).sqrt()
    m, r = u / s, q.clamp(min=SMALLEST).sqrt()
    sign_m = (m > max_mean).to(x.dtype) - (m < min_mean).to(x.dtype)
    sign_r = ((r > max_rms).to(x.dtype) - (r < min_rms).to(x.dtype)) * (q >= SMALLEST) / q.clamp(min=SMALLEST)
    # The mean square of g is a^2 s^2 + c^2.
    a = (sign_r - sign_m * u / s.pow(3) * (variance >= SMALLEST)) / n
    c = (sign_r * u + sign_m / s) / n
    scale = grad_scale / (a * a * variance + c * c).sqrt().clamp(min=SMALLEST)
    return u, a * scale, c * scale
