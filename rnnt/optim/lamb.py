"""LAMB: Adam whose step for each tensor is as long, measured against the tensor, as the learning rate says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class Lamb(Optimizer):
    """LAMB (You et al. 2020, https://arxiv.org/abs/1904.00962) as MLPerf Training's RNN-T has it.

    With all gradients together first divided by max(1, norm / clip_norm), each tensor p moves by

        m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2
        u = (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps) + weight_decay p
        p = p - lr |p| / |u| u        (ratio 1 where |p| or |u| is 0)

    The gradients are clipped in place, as `torch.nn.utils.clip_grad_norm_` does.

    Args:
        params: as for every torch optimizer.
        lr, betas, eps, weight_decay: as in the equations.
        clip_norm: largest norm of the gradient of all tensors; infinite: no clipping.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-9,
        weight_decay: float = 1e-3,
        clip_norm: float = 1.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "step": 0})
        self.clip_norm = clip_norm

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one update; tensors without a gradient stay as they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        members = [[p for p in group["params"] if p.grad is not None] for group in self.param_groups]
        grads = [p.grad for params in members for p in params]
        if grads:
            norm = torch.nn.utils.get_total_norm(grads, foreach=True)
            torch._foreach_div_(grads, (norm / self.clip_norm).clamp(min=1.0))
        for group, params in zip(self.param_groups, members):
            if params:
                group["step"] += 1
                self._update(group, params)
        return loss

    def _update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        for p in params:
            if not self.state[p]:
                self.state[p] = {"exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
        grads = [p.grad for p in params if p.grad is not None]
        means = [self.state[p]["exp_avg"] for p in params]
        squares = [self.state[p]["exp_avg_sq"] for p in params]
        beta1, beta2 = group["betas"]
        torch._foreach_lerp_(means, grads, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, grads, grads, 1 - beta2)

        scales = torch._foreach_div(squares, 1 - beta2 ** group["step"])
        torch._foreach_sqrt_(scales)
        torch._foreach_add_(scales, group["eps"])
        updates = torch._foreach_div(means, 1 - beta1 ** group["step"])
        torch._foreach_div_(updates, scales)
        torch._foreach_add_(updates, params, alpha=group["weight_decay"])

        p_norm_N, u_norm_N = (torch.stack(torch._foreach_norm(tensors)) for tensors in (params, updates))
        ratio_N = torch.where((p_norm_N > 0) & (u_norm_N > 0), p_norm_N / u_norm_N, 1.0)
        torch._foreach_mul_(updates, list((group["lr"] * ratio_N).unbind()))
        torch._foreach_sub_(params, updates)
