"""The features of a cut: read where stage 3 stored them, else computed from its audio."""

import contextlib
import zlib

import numpy as np
import torch

from rnnt.data.audio import read_samples
from rnnt.data.augment import augment
from rnnt.data.features import make_extractor
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
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return extractor.extract(samples)


def seed_of(cut):
    """The seed of a cut's dither, wherever its features are computed."""
    return zlib.crc32(cut.id.encode())


class FeatureLoader:
    """Features of cuts, stored or not, with augmentation if it is asked for.

    Args:
      config: `FeatureConfig`.
      augment_config: `AugmentConfig`, or None for the features as they are.
      fill_F: what masked cells become; needed with `augment_config`.
    """

    def __init__(self, config, augment_config=None, fill_F=None):
        self.config = config
        self.augment_config = augment_config
        self.fill_F = fill_F
        self._extractor = None

    def __getstate__(self):
        # An extractor may be an object of C++: each process makes its own.
        return {**self.__dict__, "_extractor": None}

    def load(self, cut, generator=None):
        """The features of a lhotse cut, (T, F) float32 numpy, free to be changed.

        generator: `numpy.random.Generator` for all draws of augmentation. Raises `UserError` where the options ask
        for what stored features can't give, else an exception of one of many kinds that says what can't be read.
        """
        if cut.has_features:
            x_TF = self._stored(cut)
        else:
            with one_thread():
                x_TF = self._computed(cut, generator)
        if self.augment_config is not None:
            augment(x_TF, self.fill_F, self.augment_config, generator)
        return x_TF

    def _stored(self, cut):
        if self.augment_config is not None and self.augment_config.perturb_speed_on_the_fly:
            raise UserError(
                "--perturb-speed-on-the-fly needs audio, and the features are stored; run prepare.sh with "
                "--features onthefly, or leave the option out"
            )
        return np.array(cut.load_features(), dtype=np.float32)

    def _computed(self, cut, generator):
        if self._extractor is None:
            self._extractor = make_extractor(self.config)
        samples = read_samples(cut, self.config)
        if self.augment_config is None:
            return compute_features(self._extractor, samples, seed_of(cut))
        if self.augment_config.perturb_speed_on_the_fly:
            samples = change_speed(samples, draw_ratio(self.augment_config, self.config.sampling_rate, generator))
        return compute_features(self._extractor, samples, int(generator.integers(2**31)) if self.config.dither else 0)
