"""Makes the optimizer that the options name, and clips gradients for those that don't clip themselves."""

import torch

from rnnt.optim.lamb import Lamb
from rnnt.optim.scaled_adam import ScaledAdam


def make_optimizer(model, config):
    """An optimizer over the parameters of `model`.

    AdamW spares vectors (biases, normalisation) weight decay; LAMB decays every tensor; ScaledAdam has none.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    common = {"lr": config.base_lr, "betas": (config.beta1, config.beta2), "eps": config.eps}
    if config.optimizer == "lamb":
        return Lamb(parameters, weight_decay=config.weight_decay, clip_norm=config.clip_norm, **common)
    if config.optimizer == "scaled_adam":
        return ScaledAdam(parameters, clip_scale=config.clip_scale, **common)
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, **common)


def clip_gradients(parameters, config):
    """The norm of the gradient, which is clipped in place unless the optimizer does that itself in its step."""
    grads = [p.grad for p in parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(grads, foreach=True)
    if not config.clips_itself:
        torch._foreach_mul_(grads, (config.clip_norm / (norm + 1e-6)).clamp(max=1.0))
    return norm


def set_learning_rate(optimizer, value):
    """Give every group of parameters the same learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = value
