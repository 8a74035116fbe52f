"""Noise mixed into utterances: in the waveform where there is one, else in the energies of log-mel features."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rnnt.data.audio import unreadable
from rnnt.data.config import check_same_features, read_feature_config
from rnnt.data.manifest import CutManifest

if TYPE_CHECKING:
    from lhotse.cut import Cut

    from rnnt.data.config import FeatureConfig

# Seconds; the shortest chunk that is read, though less of it may be used.
SHORTEST_CHUNK = 0.5


class NoiseSource:
    """Noise of any length, made of randomly drawn chunks of the cuts of a manifest (stage 4).

    Args:
        path: the manifest, with features.json beside it.
        config: front-end of the utterances; the noise must have the same.
    """

    def __init__(self, path: str | Path, config: FeatureConfig) -> None:
        self._manifest = CutManifest(path)
        beside = self._manifest.path.with_name("features.json")
        check_same_features(config, read_feature_config(beside), "the features of the utterances", beside)

    def draw(
        self, length: int, rate: float, read: Callable[[Cut], np.ndarray], generator: np.random.Generator
    ) -> np.ndarray:
        """Noise of `length` samples or frames: an array (length, ...).

        Cuts are drawn until there is enough; of one that is too long, a chunk is drawn.

        Args:
            length: number of samples or frames.
            rate: of them per second.
            read: gives the samples or frames of a cut.
            generator: of all draws.

        Raises:
            UserError: when a cut can't be read.
        """
        chunks: list[np.ndarray] = []
        missing = length
        while missing > 0:
            cut = self._manifest[int(generator.integers(len(self._manifest)))]
            seconds = min(cut.duration, max(missing / rate, SHORTEST_CHUNK))
            start = generator.uniform(0, cut.duration - seconds)
            try:
                chunks.append(read(cut.truncate(offset=start, duration=seconds))[:missing])
            except Exception as error:  # the storage and audio back-ends raise exceptions of any kind
                raise unreadable(self._manifest.path, cut, error) from error
            missing -= len(chunks[-1])
        return np.concatenate(chunks)


def mix_samples(samples: np.ndarray, noise: np.ndarray, snr: float) -> np.ndarray:
    """Samples (N,) plus noise (N,), scaled so that the ratio of their energies is `snr` decibels."""
    return samples + noise * np.float32(np.sqrt(_gain(np.mean(np.square(samples)), np.mean(np.square(noise)), snr)))


def mix_log_energies(x_TF: np.ndarray, noise_TF: np.ndarray, snr: float) -> np.ndarray:
    """The log-mel energies of a sum without its waveforms: energies add, phases are taken as independent.

    Args:
        x_TF: log-mel energies of the signal.
        noise_TF: log-mel energies of the noise.
        snr: ratio of the energies, each summed over all bins and frames, in decibels.
    """
    gain = _gain(np.mean(np.exp(x_TF)), np.mean(np.exp(noise_TF)), snr)
    return np.logaddexp(x_TF, noise_TF + np.float32(np.log(gain))) if gain > 0 else x_TF


def _gain(signal: float, noise: float, snr: float) -> float:
    """What to multiply the energy of the noise by; 0 where one of them is silent."""
    return signal / noise * 10 ** (-snr / 10) if noise > 0 else 0.0
