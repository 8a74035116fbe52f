"""Values that change in the course of a training.

The clock is the adjusted batch count: the updates that the same amount of audio would have made with batches of
`REFERENCE_SECONDS`. So a schedule does not depend on the batches of a training.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass

from torch import nn

REFERENCE_SECONDS = 600.0  # of audio in an update, for which icefall's schedules are written
REFRESH = 10  # updates between two readings of the clock
WARMED_UP = 100_000.0  # added where training begins with trained weights: all schedules are at their ends


@dataclass(frozen=True)
class Schedule:
    """A piecewise linear function of the batch count, constant before the first and after the last point.

    Args:
        points: pairs (batch count, value), in order.
        default: the value where no training counts batches.
    """

    points: tuple[tuple[float, float], ...]
    default: float = 0.0

    def at(self, batch_count: float | None) -> float:
        """The value at a batch count."""
        if batch_count is None:
            return self.default
        after = bisect.bisect_right(self.points, (batch_count, float("inf")))
        if after == 0:
            return self.points[0][1]
        x0, y0 = self.points[after - 1]
        if after == len(self.points):
            return y0
        x1, y1 = self.points[after]
        return y0 + (y1 - y0) * (batch_count - x0) / (x1 - x0)


def value_at(value: Schedule | float, batch_count: float | None) -> float:
    """A schedule's value now; a number is itself."""
    return value.at(batch_count) if isinstance(value, Schedule) else value


class Scheduled(nn.Module):
    """A module whose behaviour in training depends on how far training is.

    Attributes:
        batch_count: the adjusted batch count; None where no training has set it, and schedules have their defaults.
        loss_scale: the factor of the summed loss in what is differentiated; penalties get the same one.
    """

    batch_count: float | None = None
    loss_scale: float = 1.0

    def now(self, value: Schedule | float) -> float:
        """The value of a schedule at this moment of the training."""
        return value_at(value, self.batch_count)


def adjusted_batch_count(
    step: int, seconds_per_update: float, warmed_up: bool = False, ref_duration: float = REFERENCE_SECONDS
) -> float:
    """The clock of the schedules.

    Args:
        step: updates made so far.
        seconds_per_update: audio in an update, of all ranks.
        warmed_up: whether training began with trained weights.
        ref_duration: seconds of audio in an update of the training for which the schedules were written.
    """
    return step // REFRESH * REFRESH * seconds_per_update / ref_duration + (WARMED_UP if warmed_up else 0.0)


def set_progress(model: nn.Module, batch_count: float, loss_scale: float = 1.0) -> None:
    """Tell every `Scheduled` module of `model` how far training is."""
    for module in model.modules():
        if isinstance(module, Scheduled):
            module.batch_count, module.loss_scale = batch_count, loss_scale
