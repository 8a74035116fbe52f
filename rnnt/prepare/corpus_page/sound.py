"""Loudness, clipping and silence of samples."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

FULL = 0.999  # of full scale: at and above it a sample counts as clipped
QUIETER = 40.0  # dB below the loudest frame: silence
FRAME = 0.02  # seconds
LEAST = -120.0  # dB: of digital silence


class Sound(NamedTuple):
    """Measures of a recording.

    Attributes:
        loudness: root mean square in dB of full scale, -120 for digital silence.
        clipped: percent of the samples at full scale.
        silence: percent of the frames (20 ms) that are 40 dB or more below the loudest one.
    """

    loudness: float
    clipped: float
    silence: float


def measure(x_N: np.ndarray, sampling_rate: int) -> Sound:
    """The `Sound` of N samples in [-1, 1], at least one."""
    power_N = np.square(x_N, dtype=np.float64)
    size = min(max(round(FRAME * sampling_rate), 1), len(x_N))
    frames_T = power_N[: len(x_N) // size * size].reshape(-1, size).mean(axis=1)
    loudest = frames_T.max()
    silent = np.mean(frames_T <= loudest * 10 ** (-QUIETER / 10)) if loudest > 0 else 1.0
    loudness = max(10 * np.log10(max(power_N.mean(), 1e-12)), LEAST)
    return Sound(float(loudness), 100 * float(np.mean(np.abs(x_N) >= FULL)), 100 * float(silent))
