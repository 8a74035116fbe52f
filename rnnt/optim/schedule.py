"""Learning rates as pure functions of how far the training is: nothing to save, nothing to restore."""

import math


def learning_rate(config, step, progress):
    """Learning rate of an update.

    Rises linearly over `warmup_steps` updates; then stays, or falls to `final_lr_scale` of the top along half a cosine
    (Loshchilov & Hutter 2017, https://arxiv.org/abs/1608.03983) or a line.

    Args:
      config: `OptimConfig`.
      step: updates made so far, from 0.
      progress: share of the whole training that is done, 0 to 1.
    """
    warm = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    progress = min(max(progress, 0.0), 1.0)
    if config.schedule == "cosine":
        falling = 0.5 * (1 + math.cos(math.pi * progress))
    elif config.schedule == "linear":
        falling = 1 - progress
    else:
        return config.base_lr * warm
    return config.base_lr * warm * (config.final_lr_scale + (1 - config.final_lr_scale) * falling)
