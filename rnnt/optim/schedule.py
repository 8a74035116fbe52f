"""Learning rates as pure functions of how far the training is: nothing to save, nothing to restore."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Moment:
    """When an update is made."""

    step: int  # updates made before it
    progress: float  # share of the whole training that is done, 0 to 1
    epoch: int  # of the update, from 1
    epoch_steps: int  # updates in this epoch


def learning_rate(config, moment):
    """Learning rate of the update at `moment`, for an `OptimConfig`."""
    return SCHEDULES[config.schedule](config, moment)


def _warm_up(config, moment):
    """Rises linearly to 1 over `warmup_steps` updates."""
    return min(1.0, (moment.step + 1) / max(config.warmup_steps, 1))


def constant(config, moment):
    """Stays at the top after the warm-up."""
    return config.base_lr * _warm_up(config, moment)


def cosine(config, moment):
    """Falls to `final_lr_scale` of the top along half a cosine (Loshchilov & Hutter 2017, arXiv:1608.03983)."""
    return _falling(config, moment, 0.5 * (1 + math.cos(math.pi * min(max(moment.progress, 0.0), 1.0))))


def linear(config, moment):
    """Falls to `final_lr_scale` of the top along a line."""
    return _falling(config, moment, 1 - min(max(moment.progress, 0.0), 1.0))


def _falling(config, moment, share):
    low = config.final_lr_scale
    return config.base_lr * _warm_up(config, moment) * (low + (1 - low) * share)


def hold(config, moment):
    """Linear warm-up, a flat top, then a factor an epoch down to `min_lr`, all counted in epochs: MLPerf's RNN-T.

    With s the number of the update from 1 and w those of the warm-up, it rises as (s + 1) / (w + 1). After warm-up and
    hold it is multiplied by `lr_gamma` once an epoch.
    """
    number, warm_steps = moment.step + 1, config.warmup_epochs * moment.epoch_steps
    if number < warm_steps:
        scale = (number + 1) / (warm_steps + 1)
    else:
        scale = config.lr_gamma ** max(0.0, moment.epoch - config.warmup_epochs - config.hold_epochs)
    return max(config.base_lr * scale, config.min_lr)


def eden(config, moment):
    """Falls as the root of the number of updates, and as that of the number of epochs, once either is large.

    The warm-up begins at half. Source: icefall's Zipformer recipe (Yao et al. 2023, arXiv:2310.11230).
    """
    updates, epochs = moment.step / config.lr_batches, (moment.epoch - 1) / config.lr_epochs
    warm = 0.5 + 0.5 * min(1.0, moment.step / max(config.warmup_steps, 1))
    return config.base_lr * warm * (1 + updates**2) ** -0.25 * (1 + epochs**2) ** -0.25


SCHEDULES = {"constant": constant, "cosine": cosine, "linear": linear, "hold": hold, "eden": eden}
