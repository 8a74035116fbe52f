"""The normalisation of the Zipformer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rnnt.model.regularisers.limits import limited
from rnnt.ops.compiling import is_tracing

LIMIT = 1.5  # of the logarithm of the scale, either way


class _BiasNorm(torch.autograd.Function):
    """x exp(s) / r with r^2 = mean_c (x_c - b_c)^2, and its gradient in closed form.

    With y the output, k = exp(s) / r and p = sum_c g_c y_c for the incoming gradient g of a frame,

        dx = k g - p (x - b) / (D r^2),  db = sum over frames of p (x - b) / (D r^2),  ds = sum over frames of p
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias_D: Tensor, log_scale: Tensor) -> Tensor:
        rms = torch.linalg.vector_norm(x - bias_D, dim=-1, keepdim=True).mul_(x.shape[-1] ** -0.5)
        ctx.save_for_backward(x, bias_D, log_scale, rms)
        return x * (log_scale.exp() / rms)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, bias_D, log_scale, rms = ctx.saved_tensors
        scale = log_scale.exp() / rms
        p = (grad * x).sum(-1, keepdim=True).mul_(scale)
        pull = (x - bias_D).mul_(p / (x.shape[-1] * rms * rms))
        bias_grad_D = pull.flatten(0, -2).sum(0)
        return torch.addcmul(pull.neg_(), grad, scale), bias_grad_D, p.sum()


class BiasNorm(nn.Module):
    """Each frame over its root mean square, times a learnt factor. The bias only counts in the root mean square.

    y = x exp(s) / sqrt(mean_c (x_c - b_c)^2). So the length of a frame may say something: it need not be hidden in a
    channel that is always large, as with layer normalisation.

    Args:
        dim: channels.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(1.0))
        self.bias = nn.Parameter(torch.empty(dim).normal_(std=1e-4))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D), in float32."""
        if is_tracing():
            return x * (self.log_scale.exp() / (x - self.bias).square().mean(-1, keepdim=True).sqrt())
        log_scale = limited(self.log_scale, -LIMIT, LIMIT) if self.training else self.log_scale
        return _BiasNorm.apply(x.float(), self.bias, log_scale)
