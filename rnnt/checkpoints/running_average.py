"""The mean of the weights over all updates so far, and from two of them the mean over the updates between.

As icefall does it: one running mean, kept in each checkpoint, gives the average over any range of checkpoints. With n1
snapshots up to the first and n2 up to the second, mean = (n2 mean2 - n1 mean1) / (n2 - n1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rnnt.model.low_rank import merged

if TYPE_CHECKING:
    from torch import Tensor, nn


class RunningAverage:
    """Mean of snapshots of the floating-point weights, in float64 on the CPU: float32 would lose what is subtracted.

    Attributes:
        count: snapshots so far.
        mean: {name: float64 tensor}.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: dict[str, Tensor] = {}

    def add(self, model: nn.Module) -> None:
        """Count the weights as they are now as one more snapshot."""
        self.count += 1
        for name, value in merged(model.state_dict()).items():
            if value.is_floating_point():
                value = value.cpu().double()
                if name not in self.mean:  # the first one, or of a head that earlier versions did not average
                    self.mean[name] = value.clone()
                else:
                    self.mean[name].lerp_(value, 1 / self.count)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"count": self.count, "mean": self.mean}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint."""
        self.count = state["count"]
        self.mean = dict(state["mean"])


def mean_between(later: Mapping[str, Any], earlier: Mapping[str, Any] | None = None) -> dict[str, Tensor]:
    """Mean over the snapshots after `earlier` and up to `later`, in float64; without `earlier`, over all.

    Args:
        later: state of a `RunningAverage`.
        earlier: another one, of the same training.

    Raises:
        ValueError: there are no snapshots between the two.
    """
    n1 = earlier["count"] if earlier else 0
    n2 = later["count"]
    if n2 <= n1:
        raise ValueError("no snapshot of the weights was taken between them; train with a smaller --average-period")
    if not earlier or not n1:
        return dict(later["mean"])
    return {
        name: (n2 * mean - n1 * earlier["mean"][name]) / (n2 - n1) if name in earlier["mean"] else mean
        for name, mean in later["mean"].items()
    }
