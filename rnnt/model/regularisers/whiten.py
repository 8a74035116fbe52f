"""Whitening: keeps the channels of a layer from becoming copies of each other, by way of the gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from rnnt.model.regularisers import chance
from rnnt.model.regularisers.schedule import Schedule, Scheduled

SELDOM, OFTEN = 0.025, 0.25  # fraction of the calls that are measured: while the limit is kept, and otherwise


class Whiten(Scheduled):
    """Returns x unchanged. In training, on a fraction of the calls, adds a term to the gradient where x is not white.

    The frames of x (..., D), centred, have in each group of channels a covariance matrix M. The metric

        mean over channels of diag(M M) / (mean over channels of diag(M))^2

    is 1 where all eigenvalues of all groups are equal, and larger otherwise. Where it is not below the limit, its
    gradient, scaled to `grad_scale` times the norm of the incoming gradient, is added to that.

    One call in four is measured as long as the last one was above the limit, else one in forty. That memory changes
    with the update and not before (`commit_whitening`), so that ranks and accumulation do not show.

    Args:
        limit: of the metric.
        groups: into which the channels are divided.
        grad_scale: size of what is added.
    """

    def __init__(self, limit: Schedule | float, groups: int = 1, grad_scale: float = 0.01) -> None:
        super().__init__()
        self.limit, self.groups, self.grad_scale = limit, groups, grad_scale
        self.probability = OFTEN
        self.exceeded: list[Tensor] = []  # of the calls measured since the last update

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> the same."""
        if not self.training or not x.requires_grad or not chance.happens(self.probability):
            return x
        return _Whitening.apply(x, self)


def whitening_schedule(limit: float, ratio: float = 2.0) -> Schedule:
    """The limit in the course of a training: from `limit` to `ratio` times that."""
    return Schedule(((0.0, limit), (20000.0, ratio * limit)), default=limit)


class _Whitening(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, module: Whiten) -> Tensor:
        ctx.save_for_backward(x)
        ctx.module = module
        return x.view_as(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        module: Whiten = ctx.module
        with torch.autocast(x.device.type, enabled=False):
            metric, added = metric_and_gradient(x.float(), module.groups)
        exceeded = metric >= module.now(module.limit)
        module.exceeded.append(exceeded)
        scale = module.grad_scale * torch.linalg.vector_norm(grad.float()) / (torch.linalg.vector_norm(added) + 1e-20)
        # Without a branch, for which a GPU would have to be waited for.
        added *= torch.where(exceeded, scale, torch.zeros_like(scale))
        return grad + added.to(grad.dtype), None


def metric_and_gradient(x: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """The metric of x (..., D) and its gradient.

    With the centred frames Y, M = Y'Y per group, the sum S of the squares of all M and the trace R of all of them, the
    metric is D S / R^2. From dS = 4 Y M and dR = 2 Y follows d metric = (4 D / R^2) (Y M - (S / R) Y), whose frames
    sum up to zero, as the mean's part requires.
    """
    D = x.shape[-1]
    y_GND = x.reshape(-1, groups, D // groups).transpose(0, 1)
    y_GND = y_GND - y_GND.mean(dim=1, keepdim=True)
    M_GDD = y_GND.transpose(1, 2) @ y_GND
    S = M_GDD.square().sum()
    R = M_GDD.diagonal(dim1=1, dim2=2).sum()
    floor = 1e-20 * D * D  # of the squared trace
    metric = D * S / (R * R + floor)
    shrink = S * R / (R * R + floor)
    gradient_GND = torch.baddbmm(y_GND * -shrink, y_GND, M_GDD).mul_(4 * D / (R * R + floor))
    return metric, gradient_GND.transpose(0, 1).reshape(x.shape)


def _whitens(model: nn.Module) -> dict[str, Whiten]:
    return {name: module for name, module in model.named_modules() if isinstance(module, Whiten)}


def commit_whitening(model: nn.Module, all_reduce: Callable[[Tensor], Any] | None = None) -> None:
    """Let each `Whiten` remember whether any micro-batch since the last commit was above its limit.

    `all_reduce(tensor)` sums a tensor over the ranks in place.
    """
    modules = list(_whitens(model).values())
    measured = [flag for module in modules for flag in module.exceeded]
    if not modules or (all_reduce is None and not measured):
        return
    device = next(model.parameters()).device
    flags = torch.stack(measured).to(torch.float64) if measured else torch.zeros(0, dtype=torch.float64, device=device)
    owner = torch.tensor([i for i, module in enumerate(modules) for _ in module.exceeded], dtype=torch.int64)
    counts = torch.zeros(len(modules), 2, dtype=torch.float64, device=device)
    counts.index_add_(0, owner.to(device), torch.stack([torch.ones_like(flags), flags], dim=1))
    if all_reduce is not None:
        all_reduce(counts)
    for module, (number, above) in zip(modules, counts.tolist()):
        if number:
            module.probability = OFTEN if above else SELDOM
        module.exceeded = []


def discard_whitening(model: nn.Module) -> None:
    """Forget what was measured since the last commit, as after an update that was skipped."""
    for module in _whitens(model).values():
        module.exceeded = []


def whitening_state(model: nn.Module) -> dict[str, float]:
    """What the `Whiten` modules remember, by their names, for a checkpoint."""
    return {name: module.probability for name, module in _whitens(model).items()}


def load_whitening_state(model: nn.Module, state: dict[str, float]) -> None:
    """Set what `whitening_state` returned; modules that it does not name stay as they are."""
    for name, module in _whitens(model).items():
        module.probability = state.get(name, module.probability)
