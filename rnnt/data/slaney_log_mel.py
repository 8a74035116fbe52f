"""The front-end of the MLPerf RNN-T benchmark: log-mel energies on Slaney's scale, normalised per utterance.

Source: the MLCommons reference (mlcommons/training, retired_benchmarks/rnnt), which calls operators of NVIDIA DALI.
Its order: silence trimming, dither, pre-emphasis, power spectrum, mel filters, logarithm, normalisation.
K is the number of bins of the FFT, n_fft / 2 + 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from rnnt.data.config import FeatureConfig

PREEMPHASIS = 0.97
SILENCE_WINDOW = 2048  # samples
SILENCE_DB = -60.0  # of the loudest window
LOG_FLOOR = 1e-20


class SlaneyLogMel:
    """An `Extractor` (see `rnnt.data.fbank`). T is 1 + samples / frame shift after trimming.

    The FFT is as long as the next power of two from the frame length. Dither is drawn from torch's generator.
    """

    name = "rnnt"

    def __init__(self, config: FeatureConfig) -> None:
        self._length = round(config.sampling_rate * config.frame_length_ms / 1000)
        self._shift = round(config.sampling_rate * config.frame_shift)
        self._n_fft = 1 << (self._length - 1).bit_length()
        self.dither = config.dither
        self._window_N = torch.hann_window(self._length, dtype=torch.float64)
        self._mel_KF = torch.from_numpy(
            slaney_filters(config.sampling_rate, self._n_fft, config.num_mel_bins, config.low_freq, config.highest_freq)
        )

    def extract(self, samples: np.ndarray | Tensor) -> np.ndarray:
        """(num_samples,) in [-1, 1] -> (T, F) float32, mean 0 and variance 1 of each bin."""
        samples_N = np.asarray(samples, dtype=np.float32)
        if samples_N.ndim != 1:
            raise ValueError(f"expected samples of one channel, (num_samples,), got shape {samples_N.shape}")
        samples_N = trim_silence(samples_N)
        # In double precision: beside a loud tone, single precision would fill silent bins with rounding errors.
        x_N = samples_N.astype(np.float64)
        if self.dither:
            x_N += self.dither * torch.randn(len(x_N)).numpy()
        x_N = np.concatenate([x_N[:1] * (1 - PREEMPHASIS), x_N[1:] - PREEMPHASIS * x_N[:-1]])
        # A frame is centred on a multiple of the shift; the signal is mirrored at its ends.
        padded_N = torch.from_numpy(np.pad(x_N, self._length // 2, mode="reflect"))
        frames_TN = padded_N.unfold(0, self._length, self._shift) * self._window_N
        spectrum_TK = torch.fft.rfft(frames_TN, n=self._n_fft)
        power_TK = spectrum_TK.real.square().addcmul_(spectrum_TK.imag, spectrum_TK.imag)
        energies_TF = (power_TK @ self._mel_KF).clamp_(min=LOG_FLOOR).log_()
        return normalize(energies_TF).to(torch.float32).numpy()


def normalize(x_TF: Tensor) -> Tensor:
    """Subtract each bin's mean over the frames and divide by its standard deviation; a constant bin becomes 0."""
    centred_TF = x_TF - x_TF.mean(dim=0)
    std_F = centred_TF.square().mean(dim=0).sqrt()
    # Rounding leaves the deviation of a constant bin slightly above zero.
    return torch.where(std_F > 1e-9, centred_TF / std_F, 0.0)


def trim_silence(samples_N: np.ndarray) -> np.ndarray:
    """Cut off what lies before the first and after the last window that is not silent.

    A window has `SILENCE_WINDOW` samples, or all of a shorter signal. It is silent when its mean square is more than
    60 dB below that of the loudest one.
    """
    width = min(SILENCE_WINDOW, len(samples_N))
    # Running sums are exact enough in double precision; the benchmark restarts one in single precision every 8192
    # samples for the same reason.
    sums = np.concatenate([[0.0], np.cumsum(np.square(samples_N, dtype=np.float64))])
    powers = sums[width:] - sums[:-width]
    loud = np.flatnonzero(powers >= powers.max() * 10 ** (SILENCE_DB / 10))
    return samples_N[loud[0] : loud[-1] + width]


def slaney_filters(sampling_rate: int, n_fft: int, num_mel_bins: int, low_freq: float, high_freq: float) -> np.ndarray:
    """Triangular filters of area 1, as a (K, F) matrix over the K = n_fft / 2 + 1 bins of an FFT of `n_fft` points.

    Their corners lie evenly on the mel scale of Slaney's Auditory Toolbox (1998).
    """
    edges_E = mel_to_hz(np.linspace(hz_to_mel(low_freq), hz_to_mel(high_freq), num_mel_bins + 2))
    hz_K1 = np.linspace(0, sampling_rate / 2, n_fft // 2 + 1)[:, None]
    low_F, middle_F, high_F = edges_E[:-2], edges_E[1:-1], edges_E[2:]
    rising_KF = (hz_K1 - low_F) / (middle_F - low_F)
    falling_KF = (high_F - hz_K1) / (high_F - middle_F)
    return np.maximum(0, np.minimum(rising_KF, falling_KF)) * (2 / (high_F - low_F))


# Slaney's scale: 3 mel for 200 Hz up to 1000 Hz, which is 15 mel; from there 27 mel for a factor of 6.4.
_CORNER_HZ, _CORNER_MEL, _MEL_PER_HZ = 1000.0, 15.0, 3 / 200
_MEL_PER_LOG = 27 / np.log(6.4)


def hz_to_mel(hz: float | np.ndarray) -> np.ndarray:
    """Hz (a number or an array) to mel on Slaney's scale."""
    hz = np.asarray(hz, dtype=np.float64)
    logarithmic = _CORNER_MEL + _MEL_PER_LOG * np.log(np.maximum(hz, _CORNER_HZ) / _CORNER_HZ)
    return np.where(hz < _CORNER_HZ, hz * _MEL_PER_HZ, logarithmic)


def mel_to_hz(mel: float | np.ndarray) -> np.ndarray:
    """The inverse of `hz_to_mel`."""
    mel = np.asarray(mel, dtype=np.float64)
    exponential = _CORNER_HZ * np.exp((np.maximum(mel, _CORNER_MEL) - _CORNER_MEL) / _MEL_PER_LOG)
    return np.where(mel < _CORNER_MEL, mel / _MEL_PER_HZ, exponential)
