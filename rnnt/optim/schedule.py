"""Learning rates as pure functions of how far the training is: nothing to save, nothing to restore. Free of torch.

Each schedule is the dataclass of its own options.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from rnnt.options import option
from rnnt.registry import Registry


@dataclass(frozen=True)
class TrainingProgress:
    """When an update is made."""

    step: int  # updates made before it
    fraction: float  # of the complete training that is done, 0 to 1
    epoch: int  # of the update, from 1
    epoch_steps: int  # updates in this epoch


@dataclass(frozen=True)
class Schedule:
    """What all schedules have."""

    name: ClassVar[str]

    def learning_rate(self, base_lr: float, at: TrainingProgress) -> float:
        """Learning rate of the update at `at`, for the highest learning rate `base_lr`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Constant(Schedule):
    """Stays at the top after the warm-up."""

    name = "constant"

    warmup_steps: int = option(500, "updates over which the learning rate rises", minimum=0)

    def learning_rate(self, base_lr: float, at: TrainingProgress) -> float:
        """Rises linearly, then stays."""
        return base_lr * self._warm_up(at)

    def _warm_up(self, at: TrainingProgress) -> float:
        """Rises linearly to 1 over `warmup_steps` updates."""
        return min(1.0, (at.step + 1) / max(self.warmup_steps, 1))


@dataclass(frozen=True)
class Linear(Constant):
    """Falls along a line after the warm-up."""

    name = "linear"

    final_lr_scale: float = option(0.01, "learning rate at the end, as a fraction of --base-lr", minimum=0, maximum=1)

    def learning_rate(self, base_lr: float, at: TrainingProgress) -> float:
        """Falls to `final_lr_scale` of the top."""
        low = self.final_lr_scale
        return base_lr * self._warm_up(at) * (low + (1 - low) * self._fall(min(max(at.fraction, 0.0), 1.0)))

    def _fall(self, fraction: float) -> float:
        return 1 - fraction


@dataclass(frozen=True)
class Cosine(Linear):
    """Falls along half a cosine after the warm-up (Loshchilov & Hutter 2017, arXiv:1608.03983)."""

    name = "cosine"

    def _fall(self, fraction: float) -> float:
        return 0.5 * (1 + math.cos(math.pi * fraction))


@dataclass(frozen=True)
class Hold(Schedule):
    """Linear warm-up, a flat top, then a factor per epoch down to a floor, all counted in epochs: MLPerf's RNN-T."""

    name = "hold"

    warmup_epochs: float = option(1.0, "epochs over which the learning rate rises", minimum=0)
    hold_epochs: float = option(10.0, "epochs at --base-lr after the warm-up", minimum=0)
    lr_gamma: float = option(0.95, "factor on the learning rate for each epoch after that", above=0, maximum=1)
    min_lr: float = option(1e-5, "lowest learning rate", minimum=0)

    def learning_rate(self, base_lr: float, at: TrainingProgress) -> float:
        """With s the number of the update from 1 and w those of the warm-up, it rises as (s + 1) / (w + 1).

        After warm-up and hold it is multiplied by `lr_gamma` once per epoch.
        """
        number, warm_steps = at.step + 1, self.warmup_epochs * at.epoch_steps
        if number < warm_steps:
            scale = (number + 1) / (warm_steps + 1)
        else:
            scale = self.lr_gamma ** max(0.0, at.epoch - self.warmup_epochs - self.hold_epochs)
        return max(base_lr * scale, self.min_lr)


@dataclass(frozen=True)
class Eden(Schedule):
    """Falls as the root of the number of updates, and as that of the number of epochs, once either is large.

    With b the number of the update from 1, e the epochs done, B = `lr_batches`, E = `lr_epochs`:

        lr = base (1 + (b / B)^2)^(-1/4) (1 + (e / E)^2)^(-1/4) (s + (1 - s) min(1, b / warmup_steps))

    Source: icefall's Zipformer recipe (Yao et al. 2023, arXiv:2310.11230).
    """

    name = "eden"

    warmup_steps: int = option(500, "updates over which the learning rate rises", minimum=0)
    warmup_start: float = option(
        0.1, "fraction of the learning rate at which the warm-up begins (s); 1: no warm-up", minimum=0, maximum=1
    )
    lr_batches: float = option(7500.0, "updates after which the learning rate falls noticeably", above=0)
    lr_epochs: float = option(3.5, "epochs after which it does", above=0)

    def learning_rate(self, base_lr: float, at: TrainingProgress) -> float:
        """Does not depend on how many epochs there will be."""
        number = at.step + 1
        updates, epochs = number / self.lr_batches, (at.epoch - 1) / self.lr_epochs
        warm = self.warmup_start + (1 - self.warmup_start) * min(1.0, number / max(self.warmup_steps, 1))
        return base_lr * warm * (1 + updates**2) ** -0.25 * (1 + epochs**2) ** -0.25


# A schedule is its own configuration: there is nothing else to make.
SCHEDULES = Registry("schedule")
for schedule in (Constant, Cosine, Linear, Hold, Eden):
    SCHEDULES.add(schedule, schedule)
