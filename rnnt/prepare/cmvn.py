"""Mean and standard deviation of features."""

from typing import Any

import numpy as np

# A filter that holds no spectral line is constant; without a floor, normalisation would divide by zero.
STD_FLOOR = 0.01


class FeatureStatistics:
    """Mean and standard deviation of each bin over all frames, in one pass."""

    def __init__(self) -> None:
        self.frames = 0
        self._shift_F: np.ndarray | None = None
        self._sum_F: np.ndarray | float = 0.0
        self._squares_F: np.ndarray | float = 0.0

    def add(self, x_TF: np.ndarray) -> None:
        """Add the frames of one utterance, (T, F)."""
        if self._shift_F is None:
            self._shift_F = np.asarray(x_TF, dtype=np.float64).mean(axis=0)
        # Shifted by about the mean: the difference of two large sums would lose digits.
        centred_TF = np.asarray(x_TF, dtype=np.float64) - self._shift_F
        self.frames += len(centred_TF)
        self._sum_F = self._sum_F + centred_TF.sum(axis=0)
        self._squares_F = self._squares_F + np.square(centred_TF).sum(axis=0)

    def to_dict(self) -> dict[str, Any]:
        """`{"mean": [F], "std": [F], "frames": N}`, std at least `STD_FLOOR`. Raises ValueError without frames."""
        if self._shift_F is None:
            raise ValueError("no frames were added")
        offset_F = self._sum_F / self.frames
        variance_F = np.maximum(self._squares_F / self.frames - np.square(offset_F), 0)
        std_F = np.maximum(np.sqrt(variance_F), STD_FLOOR)
        return {"mean": (self._shift_F + offset_F).tolist(), "std": std_F.tolist(), "frames": self.frames}
