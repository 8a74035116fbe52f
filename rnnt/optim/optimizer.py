"""Makes the optimizer that the options name, and clips gradients for those that don't clip themselves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rnnt.optim.config import OPTIMIZERS
from rnnt.optim.lamb import Lamb
from rnnt.optim.scaled_adam import ScaledAdam

if TYPE_CHECKING:
    from rnnt.optim.config import AdamWConfig, LambConfig, OptimizerConfig, ScaledAdamConfig


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """An optimizer over the parameters of `model` that learn."""
    return OPTIMIZERS.implementation(config)(model, config)


def _learning(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


def _common(config: OptimizerConfig) -> dict[str, Any]:
    return {"lr": config.base_lr, "betas": (config.beta1, config.beta2), "eps": config.eps}


def make_adamw(model: nn.Module, config: AdamWConfig) -> torch.optim.AdamW:
    """AdamW, which spares vectors (biases, normalisation) weight decay."""
    parameters = _learning(model)
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, **_common(config))


def make_lamb(model: nn.Module, config: LambConfig) -> Lamb:
    """LAMB, which decays every tensor."""
    return Lamb(_learning(model), weight_decay=config.weight_decay, clip_norm=config.clip_norm, **_common(config))


def make_scaled_adam(model: nn.Module, config: ScaledAdamConfig) -> ScaledAdam:
    """ScaledAdam, which has no weight decay."""
    return ScaledAdam(_learning(model), clipping_scale=config.clipping_scale, **_common(config))


def clip_gradients(parameters: Iterable[nn.Parameter], config: OptimizerConfig) -> Tensor:
    """The norm of the gradient, which is clipped in place unless the optimizer does that itself in its step."""
    grads = [p.grad for p in parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(grads, foreach=True)
    if config.gradient_limit is not None:
        torch._foreach_mul_(grads, (config.gradient_limit / (norm + 1e-6)).clamp(max=1.0))
    return norm


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Give every group of parameters the same learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = value
