"""Options of the optimizer and its schedule. Free of torch, so that --help is quick."""

from dataclasses import dataclass

from rnnt.options import option


@dataclass(frozen=True)
class OptimConfig:
    """Optimizer."""

    optimizer: str = option("adamw", "rule of the update", choices=["adamw"])
    base_lr: float = option(1e-3, "highest learning rate")
    beta1: float = option(0.9, "decay of the mean of gradients")
    beta2: float = option(0.98, "decay of the mean of squared gradients")
    weight_decay: float = option(1e-3, "decoupled weight decay, on matrices only")
    clip_norm: float = option(5.0, "largest norm of the gradient of an update")
    schedule: str = option("cosine", "learning rate after the warm-up", choices=["constant", "cosine", "linear"])
    warmup_steps: int = option(500, "updates over which the learning rate rises")
    final_lr_scale: float = option(0.01, "learning rate at the end of training, as a share of --base-lr")

    def __post_init__(self):
        if self.base_lr <= 0 or self.clip_norm <= 0:
            raise ValueError("--base-lr and --clip-norm must be positive")
