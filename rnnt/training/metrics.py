"""Running sums of what training reports, and how fast it goes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class Tally:
    """Sums by name, for means over any stretch of updates and any number of ranks."""

    def __init__(self) -> None:
        self.sums: dict[str, float | Tensor] = {}

    def add(self, **values: float | Tensor | None) -> None:
        """Add to each named sum; None is left out. Tensors stay on their device until the sums are read."""
        for name, value in values.items():
            if value is not None:
                self.sums[name] = self.sums.get(name, 0.0) + value

    def numbers(self) -> dict[str, float]:
        """The sums as plain numbers."""
        return {name: float(value) for name, value in self.sums.items()}


def add_up(dictionaries: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """One dictionary with the sums of several, by name."""
    total = Tally()
    for numbers in dictionaries:
        total.add(**numbers)
    return total.numbers()


def duration_text(seconds: float) -> str:
    """95 -> `1m 35s`, for progress lines."""
    if not math.isfinite(seconds):
        return "?"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02d}m" if hours else f"{minutes}m {seconds:02d}s"


class Clock:
    """How fast it goes and how long it still takes. The fraction of the training that is done is 0 to 1."""

    def __init__(self, fraction: float) -> None:
        self._start = (time.monotonic(), fraction)
        self._lap = time.monotonic()

    def lap(self) -> float:
        """Seconds since the last lap."""
        before, self._lap = self._lap, time.monotonic()
        return self._lap - before

    def left(self, fraction: float) -> float:
        """Seconds until the end at the pace so far."""
        began, first = self._start
        done = fraction - first
        return (time.monotonic() - began) / done * (1 - fraction) if done > 0 else math.inf
