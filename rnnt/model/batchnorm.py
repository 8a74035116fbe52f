"""Batch normalisation that padding, world size and accumulation do not change.

Three rules make it so:

- Statistics are taken over valid frames only.
- In training, a micro-batch is normalised by its own statistics, on whatever rank it runs. Two ranks therefore give
  the same gradients as one process that accumulates two micro-batches.
- The running statistics that evaluation uses are updated once per update, from the sums over all micro-batches of all
  ranks (`commit_statistics`). After weights were averaged they are estimated again (`discard_pending_statistics`,
  forward passes in training mode, `commit_statistics` with momentum 1).

Source: Ioffe & Szegedy 2015, https://arxiv.org/abs/1502.03167; the per-micro-batch statistics are the "ghost batches"
of Hoffer et al. 2017, https://arxiv.org/abs/1705.08741.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class _Normalise(torch.autograd.Function):
    """weight (x - mean) / std + bias over valid frames, with the gradient in closed form.

    With g the incoming gradient on valid frames, n their number and y = (x - mean) / std,

        d bias = sum g,  d weight = sum g y,  d x = weight / std (g - d bias / n - y d weight / n)

    Composed of single operations, autograd would go through the memory of x some twenty times.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, ...]:
        dims = [d for d in range(x.dim()) if d != 1]
        shape = [1, -1] + [1] * (x.dim() - 2)
        x = x * mask
        count = (mask.sum() * x[0, 0, 0].numel()).clamp(min=1.0)
        mean = x.sum(dims) / count
        # The padding is zero, so it adds count x mean^2 to the sum of squares about the mean.
        padding = x.numel() / x.shape[1] - count
        var = (torch.linalg.vector_norm(x - mean.view(shape), dim=dims).square() - padding * mean * mean) / count
        var = var.clamp(min=0.0)
        inverse_std = torch.rsqrt(var + eps)
        scale = weight * inverse_std
        ctx.save_for_backward(x, mask, mean, inverse_std, weight, count)
        return (x * scale.view(shape)).add_((bias - mean * scale).view(shape)).mul_(mask), mean, var, count

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, mask, mean, inverse_std, weight, count = ctx.saved_tensors
        dims = [d for d in range(x.dim()) if d != 1]
        shape = [1, -1] + [1] * (x.dim() - 2)
        g = g * mask
        bias_grad = g.sum(dims)
        weight_grad = ((g * x).sum(dims) - mean * bias_grad) * inverse_std
        scale = weight * inverse_std
        slope = scale * inverse_std * weight_grad / count
        x_grad = (g * scale.view(shape)).addcmul_(x, slope.view(shape), value=-1)
        x_grad.add_((mean * slope - scale * bias_grad / count).view(shape)).mul_(mask)
        return x_grad, None, weight_grad, bias_grad, None


class MaskedBatchNorm(nn.Module):
    """Normalise each channel of x (B, C, T, ...) over the valid frames of all utterances."""

    running_mean: Tensor
    running_var: Tensor
    pending: Tensor

    def __init__(self, channels: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum = momentum
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        # Count, sum and sum of squares since the last commit; in double, so that the order of ranks does not show.
        self.register_buffer("pending", torch.zeros(2 * channels + 1, dtype=torch.float64), persistent=False)

    def forward(self, x: Tensor, mask_BT: Tensor) -> Tensor:
        """x (B, C, T, ...), mask_BT True on valid frames; returns the same shape in float32, zero on padding."""
        x = x.float()
        mask = mask_BT.reshape(x.shape[0], 1, x.shape[2], *[1] * (x.dim() - 3)).to(x.dtype)
        if self.training:
            out, mean, var, count = _Normalise.apply(x, mask, self.weight, self.bias, self.eps)
            self._accumulate(count, mean, var)
            return out
        shape = [1, -1] + [1] * (x.dim() - 2)
        scale = torch.rsqrt(self.running_var + self.eps) * self.weight
        offset = self.bias - self.running_mean * scale
        return (x * scale.view(shape) + offset.view(shape)) * mask

    @torch.no_grad()
    def _accumulate(self, count: Tensor, mean: Tensor, var: Tensor) -> None:
        count, mean, var = count.double(), mean.double(), var.double()
        self.pending += torch.cat([count[None], count * mean, count * (var + mean * mean)])


def _norms(model: nn.Module) -> list[MaskedBatchNorm]:
    return [m for m in model.modules() if isinstance(m, MaskedBatchNorm)]


@torch.no_grad()
def discard_pending_statistics(model: nn.Module) -> None:
    """Forget what was accumulated since the last commit, as after an update that was skipped."""
    for norm in _norms(model):
        norm.pending.zero_()


@torch.no_grad()
def commit_statistics(
    model: nn.Module, all_reduce: Callable[[Tensor], Any] | None = None, momentum: float | None = None
) -> None:
    """Move the running statistics towards those of the frames since the last commit.

    `all_reduce(tensor)` sums a float64 tensor over the ranks in place. `momentum` replaces each layer's own;
    1 takes the new statistics alone.
    """
    norms = _norms(model)
    if not norms:
        return
    pending = torch.cat([norm.pending for norm in norms])
    if all_reduce is not None:
        all_reduce(pending)
    for norm, part in zip(norms, pending.split([norm.pending.numel() for norm in norms])):
        channels = norm.running_mean.numel()
        count, total, squares = part[0], part[1 : channels + 1], part[channels + 1 :]
        mean = total / count.clamp(min=1.0)
        var = (squares / count.clamp(min=1.0) - mean * mean).clamp(min=0.0)
        step = (norm.momentum if momentum is None else momentum) * (count > 0)
        norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), step.to(norm.running_mean.dtype))
        norm.running_var.lerp_(var.to(norm.running_var.dtype), step.to(norm.running_var.dtype))
        norm.pending.zero_()


def statistics(model: nn.Module) -> list[str]:
    """The names of the running statistics of a model, which averaging of other weights would spoil."""
    norms = [name for name, module in model.named_modules() if isinstance(module, MaskedBatchNorm)]
    return [f"{name}.{kind}" for name in norms for kind in ("running_mean", "running_var")]
