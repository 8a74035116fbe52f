"""The features of a cut: read where stage 3 stored them, else computed from its audio."""

import contextlib
import zlib

import numpy as np
import torch

from rnnt.data.audio import read_samples
from rnnt.data.augment import augment
from rnnt.data.features import make_extractor
from rnnt.data.noise import NoiseSource, mix_log_energies, mix_samples
from rnnt.data.perturb import change_speed, draw_ratio
from rnnt.errors import UserError


@contextlib.contextmanager
def one_thread():
    """The same sums in every process: more threads of torch would add up in another order, and not be faster."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def compute_features(extractor, samples, seed):
    """(num_samples,) -> (T, F) float32 numpy; `seed` fixes the dither and nothing else."""
    if not extractor.dither:
        return extractor.extract(samples)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return extractor.extract(samples)


def seed_of(cut):
    """The seed of a cut's dither, wherever its features are computed."""
    return zlib.crc32(cut.id.encode())


class FeatureLoader:
    """Features of cuts, stored or not, with augmentation if it is asked for.

    Speed comes first, then noise, gain and SpecAugment. Noise is added to the samples where features are computed
    here, and to the energies where they were stored.

    Args:
      config: `FeatureConfig`.
      augment_config: `AugmentConfig`, or None for the features as they are. Raises `UserError` where its noise is not
        there or has other features.
      fill_F: what masked cells become; needed with `augment_config`.
    """

    def __init__(self, config, augment_config=None, fill_F=None):
        self.config = config
        self.augment_config = augment_config
        self.fill_F = fill_F
        self._extractor = None
        has_noise = augment_config is not None and augment_config.noise_manifest
        self._noise = NoiseSource(augment_config.noise_manifest, config) if has_noise else None

    def __getstate__(self):
        # An extractor may be an object of C++: each process makes its own.
        return {**self.__dict__, "_extractor": None}

    def load(self, cut, generator=None):
        """The features of a lhotse cut, (T, F) float32 numpy, free to be changed.

        generator: `numpy.random.Generator` for all draws of augmentation. Raises `UserError` where the options ask
        for what stored features can't give, else an exception of one of many kinds that says what can't be read.
        """
        if self.augment_config is None:
            return self._plain(cut)
        with one_thread():
            x_TF = self._stored(cut, generator) if cut.has_features else self._computed(cut, generator)
            return augment(x_TF, self.fill_F, self.augment_config, generator)

    def _plain(self, cut):
        if cut.has_features:
            return np.array(cut.load_features(), dtype=np.float32)
        with one_thread():
            return self._extract(read_samples(cut, self.config), seed_of(cut))

    def _extract(self, samples, seed):
        if self._extractor is None:
            self._extractor = make_extractor(self.config)
        return compute_features(self._extractor, samples, seed)

    def _stored(self, cut, generator):
        if self.augment_config.perturb_speed_on_the_fly:
            raise UserError(
                "--perturb-speed-on-the-fly needs audio, and the features are stored; run prepare.sh with "
                "--features onthefly, or leave the option out"
            )
        x_TF = self._plain(cut)
        snr = self._draw_snr(generator)
        if snr is None:
            return x_TF
        if self.config.is_normalized:
            raise UserError(
                f"--noise-manifest: {self.config.frontend} is normalised, so noise needs audio, and the features are "
                "stored; run prepare.sh with --features onthefly, or leave the option out"
            )
        return mix_log_energies(
            x_TF, self._noise.draw(len(x_TF), 1 / self.config.frame_shift, self._plain, generator), snr
        )

    def _computed(self, cut, generator):
        samples, rate = read_samples(cut, self.config), self.config.sampling_rate
        if self.augment_config.perturb_speed_on_the_fly:
            samples = change_speed(samples, draw_ratio(self.augment_config, rate, generator))
        snr = self._draw_snr(generator)
        if snr is not None:
            noise = self._noise.draw(len(samples), rate, lambda cut: read_samples(cut, self.config), generator)
            samples = mix_samples(samples, noise, snr)
        return self._extract(samples, int(generator.integers(2**31)))

    def _draw_snr(self, generator):
        """Decibels, or None for an utterance without noise."""
        config = self.augment_config
        if self._noise is None or generator.random() >= config.noise_prob:
            return None
        return generator.uniform(config.noise_snr_min, config.noise_snr_max)
