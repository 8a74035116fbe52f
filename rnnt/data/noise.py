"""Noise mixed into utterances: in the waveform where there is one, else in the energies of log-mel features."""

import numpy as np

from rnnt.data.audio import unreadable
from rnnt.data.config import check_same_features, read_feature_config
from rnnt.data.manifest import CutManifest

# Seconds; the shortest piece that is read, though less of it may be used.
SHORTEST_PIECE = 0.5


class NoiseSource:
    """Noise of any length, made of randomly drawn pieces of the cuts of a manifest (stage 4).

    Args:
      path: the manifest, with features.json beside it.
      config: `FeatureConfig` of the utterances; the noise must have the same.
    """

    def __init__(self, path, config):
        self._manifest = CutManifest(path)
        beside = self._manifest.path.with_name("features.json")
        check_same_features(config, read_feature_config(beside), "the features of the utterances", beside)

    def draw(self, length, rate, read, generator):
        """Noise of `length` samples or frames, of which there are `rate` a second: an array (length, ...).

        Cuts are drawn until there is enough; of one that is too long, a stretch is drawn. `read(cut)` gives the
        samples or frames of a cut. Raises `UserError` on noise that can't be read.
        """
        pieces, missing = [], length
        while missing > 0:
            cut = self._manifest[generator.integers(len(self._manifest))]
            seconds = min(cut.duration, max(missing / rate, SHORTEST_PIECE))
            start = generator.uniform(0, cut.duration - seconds)
            try:
                pieces.append(read(cut.truncate(offset=start, duration=seconds))[:missing])
            except Exception as error:  # the storage and audio back-ends raise whatever they like
                raise unreadable(self._manifest.path, cut, error) from error
            missing -= len(pieces[-1])
        return np.concatenate(pieces)


def mix_samples(samples, noise, snr):
    """Samples (N,) plus noise (N,), scaled so that the ratio of their energies is `snr` decibels."""
    return samples + noise * np.float32(np.sqrt(_gain(np.mean(np.square(samples)), np.mean(np.square(noise)), snr)))


def mix_log_energies(x_TF, noise_TF, snr):
    """The log-mel energies of a sum, where waveforms are not at hand: energies add up, phases are taken as unrelated.

    `snr` is the ratio of the energies summed over all bins and frames, in decibels.
    """
    gain = _gain(np.mean(np.exp(x_TF)), np.mean(np.exp(noise_TF)), snr)
    return np.logaddexp(x_TF, noise_TF + np.float32(np.log(gain))) if gain > 0 else x_TF


def _gain(signal, noise, snr):
    """What to multiply the energy of the noise by; 0 where one of them is silent."""
    return signal / noise * 10 ** (-snr / 10) if noise > 0 else 0.0
