"""Kaldi's log-mel filter banks in numpy.

Frames of 25 ms every 10 ms, as many as the samples divided by the shift, rounded, with the signal mirrored at both
ends; of each its mean removed, pre-emphasis 0.97, Kaldi's window ("povey", a Hann window to the power of 0.85),
power spectrum, triangular filters of equal width on the scale 1127 ln(1 + f / 700), logarithm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rnnt.data.config import FeatureConfig

PREEMPHASIS = 0.97
FLOOR = np.finfo(np.float32).eps
BLOCK = 4096  # frames that are computed at once


class NumpyFbank:
    """The front-end of exported models.

    Args:
        config: Kaldi's filter banks with snip_edges false; noise (dither) is left out.
    """

    def __init__(self, config: FeatureConfig) -> None:
        rate = config.sampling_rate
        self.length, self.shift = int(rate * config.frame_length_ms / 1000), int(rate * config.frame_shift_ms / 1000)
        self.fft_length = 1 << (self.length - 1).bit_length()
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.length) / (self.length - 1))
        self.window = (hann**0.85).astype(np.float32)
        self.bins = config.num_mel_bins
        self.filters = _MelFilters(config, self.fft_length)

    def extract(self, samples: np.ndarray) -> np.ndarray:
        """(num_samples,) in [-1, 1] -> (T, F) float32."""
        samples = np.asarray(samples, np.float32)
        frames = (len(samples) + self.shift // 2) // self.shift
        if not frames:
            return np.zeros((0, self.bins), np.float32)
        before = self.length // 2 - self.shift // 2
        after = (frames - 1) * self.shift + self.length - before - len(samples)
        padded = np.pad(samples, (before, max(after, 0)), mode="symmetric")
        windows_TN = np.lib.stride_tricks.sliding_window_view(padded, self.length)[:: self.shift][:frames]
        return np.concatenate([self._block(windows_TN[i : i + BLOCK]) for i in range(0, frames, BLOCK)])

    def _block(self, x_TN: np.ndarray) -> np.ndarray:
        x_TN = x_TN - x_TN.mean(axis=1, keepdims=True)
        emphasized_TN = x_TN.copy()
        emphasized_TN[:, 1:] -= PREEMPHASIS * x_TN[:, :-1]
        emphasized_TN[:, 0] -= PREEMPHASIS * x_TN[:, 0]
        spectrum_TK = np.fft.rfft(emphasized_TN * self.window, self.fft_length)
        power_TK = (spectrum_TK.real**2 + spectrum_TK.imag**2).astype(np.float32)
        return np.log(np.maximum(self.filters(power_TK), FLOOR))


def _mel(hertz: np.ndarray | float) -> np.ndarray:
    return 1127.0 * np.log1p(np.asarray(hertz) / 700.0)


class _MelFilters:
    """Triangles whose feet are the peaks of their neighbours: between two peaks one falls and the next one rises.

    So a number of the spectrum is in two filters at most, and sums over the stretches between peaks give all filters,
    many times cheaper than a product with the matrix of the filters.
    """

    def __init__(self, config: FeatureConfig, fft_length: int) -> None:
        edges = np.linspace(_mel(config.low_freq), _mel(config.highest_freq), config.num_mel_bins + 2)
        # Kaldi leaves the highest frequency out.
        mel_K = _mel(np.arange(fft_length // 2) * (config.sampling_rate / fft_length))
        begin_S = np.searchsorted(mel_K, edges, side="left")
        stretch_K = np.clip(np.searchsorted(edges, mel_K, side="right") - 1, 0, len(edges) - 2)
        self.used = slice(int(begin_S[0]), int(begin_S[-1]))
        width_K = (edges[stretch_K + 1] - edges[stretch_K])[self.used]
        self.rising_K = ((mel_K - edges[stretch_K])[self.used] / width_K).astype(np.float32)
        self.falling_K = 1 - self.rising_K
        begin_S = begin_S[:-1] - begin_S[0]
        self.is_empty_S = np.diff(begin_S, append=len(self.rising_K)) == 0
        self.begin_S = np.minimum(begin_S, len(self.rising_K) - 1)

    def __call__(self, power_TK: np.ndarray) -> np.ndarray:
        """(T, K) -> (T, F)."""
        power_TK = power_TK[:, self.used]
        rising_TS, falling_TS = (
            np.add.reduceat(power_TK * weight_K, self.begin_S, axis=1) for weight_K in (self.rising_K, self.falling_K)
        )
        rising_TS[:, self.is_empty_S] = 0.0
        falling_TS[:, self.is_empty_S] = 0.0
        return rising_TS[:, :-1] + falling_TS[:, 1:]
