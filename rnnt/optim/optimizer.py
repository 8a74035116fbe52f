"""Makes the optimizer that the options name."""

import torch


def make_optimizer(model, config):
    """An optimizer over the parameters of `model`. Vectors (biases, normalisation) are spared weight decay."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.base_lr, betas=(config.beta1, config.beta2))


def set_learning_rate(optimizer, value):
    """Give every group of parameters the same learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = value
