"""Options of the optimizer and its schedule. Free of torch, so that --help is quick."""

from dataclasses import dataclass

from rnnt.options import option


@dataclass(frozen=True)
class OptimConfig:
    """Optimizer."""

    optimizer: str = option("adamw", "rule of the update", choices=["adamw", "lamb", "scaled_adam"])
    base_lr: float = option(1e-3, "highest learning rate")
    beta1: float = option(0.9, "decay of the mean of gradients")
    beta2: float = option(0.98, "decay of the mean of squared gradients")
    eps: float = option(1e-8, "added to the root of the mean of squared gradients")
    weight_decay: float = option(1e-3, "decoupled weight decay; adamw: on matrices only, lamb: on every tensor")
    clip_norm: float = option(5.0, "adamw, lamb: largest norm of the gradient of an update")
    clip_scale: float = option(2.0, "scaled_adam: largest norm of a gradient, as a multiple of the usual one")
    schedule: str = option(
        "cosine", "learning rate after the warm-up", choices=["constant", "cosine", "linear", "hold", "eden"]
    )
    warmup_steps: int = option(500, "updates over which the learning rate rises; not for hold")
    final_lr_scale: float = option(0.01, "cosine, linear: learning rate at the end, as a share of --base-lr")
    warmup_epochs: float = option(1.0, "hold: epochs over which the learning rate rises")
    hold_epochs: float = option(10.0, "hold: epochs at --base-lr after the warm-up")
    lr_gamma: float = option(0.95, "hold: factor on the learning rate for each epoch after that")
    min_lr: float = option(1e-5, "hold: lowest learning rate")
    lr_batches: float = option(5000.0, "eden: updates after which the learning rate falls noticeably")
    lr_epochs: float = option(3.5, "eden: epochs after which it does")

    def __post_init__(self):
        for name in ("base_lr", "clip_norm", "clip_scale", "lr_batches", "lr_epochs"):
            if getattr(self, name) <= 0:
                raise ValueError(f"--{name.replace('_', '-')} must be positive")
        if not 0 < self.lr_gamma <= 1 or min(self.warmup_epochs, self.hold_epochs, self.min_lr) < 0:
            raise ValueError("--lr-gamma must be in (0, 1]; --warmup-epochs, --hold-epochs, --min-lr can't be negative")

    @property
    def clips_itself(self):
        """Whether the optimizer clips gradients within its step."""
        return self.optimizer in ("lamb", "scaled_adam")
