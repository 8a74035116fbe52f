"""Options of the optimizers, a class each. Free of torch, so that --help is quick."""

from dataclasses import dataclass
from typing import ClassVar

from rnnt.optim.schedule import SCHEDULES, Schedule
from rnnt.options import component, option
from rnnt.registry import Registry


@dataclass(frozen=True)
class OptimizerConfig:
    """What the configurations of all optimizers have."""

    name: ClassVar[str]

    base_lr: float = option(1e-3, "highest learning rate", above=0, maximum=1000)
    beta1: float = option(0.9, "decay of the mean of gradients", minimum=0, below=1)
    beta2: float = option(0.98, "decay of the mean of squared gradients", minimum=0, below=1)
    eps: float = option(1e-8, "added to the root of the mean of squared gradients", above=0, maximum=1)

    @property
    def gradient_limit(self) -> float | None:
        """Norm to which the trainer clips the gradient of an update; None: the optimizer clips within its step."""
        return None


@dataclass(frozen=True)
class AdamWConfig(OptimizerConfig):
    """Adam with decoupled weight decay."""

    name = "adamw"

    weight_decay: float = option(
        1e-3, "decoupled weight decay; adamw: on matrices only, lamb: on every tensor", minimum=0, maximum=1000
    )
    clip_norm: float = option(5.0, "largest norm of the gradient of an update", above=0)

    @property
    def gradient_limit(self) -> float | None:
        """--clip-norm."""
        return self.clip_norm


@dataclass(frozen=True)
class LambConfig(AdamWConfig):
    """LAMB, as in MLPerf."""

    name = "lamb"

    @property
    def gradient_limit(self) -> None:
        """LAMB clips by itself."""
        return None


@dataclass(frozen=True)
class ScaledAdamConfig(OptimizerConfig):
    """Steps as long as each tensor is large, as in icefall; goes with --schedule eden."""

    name = "scaled_adam"

    base_lr: float = option(0.045, "highest learning rate", minimum=0)
    clipping_scale: float = option(
        2.0, "largest norm of a gradient, as a multiple of the median of the last updates", above=0
    )


# An optimizer is made of `(model, config)`; see rnnt/optim/optimizer.py.
OPTIMIZERS = Registry("optimizer")
OPTIMIZERS.add(AdamWConfig, "rnnt.optim.optimizer:make_adamw")
OPTIMIZERS.add(LambConfig, "rnnt.optim.optimizer:make_lamb")
OPTIMIZERS.add(ScaledAdamConfig, "rnnt.optim.optimizer:make_scaled_adam")


@dataclass(frozen=True)
class OptimConfig:
    """Optimizer and learning rate."""

    optimizer: OptimizerConfig = component(OPTIMIZERS, "adamw", "rule of the update")
    schedule: Schedule = component(SCHEDULES, "cosine", "learning rate after the warm-up")
