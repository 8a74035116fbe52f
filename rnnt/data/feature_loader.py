"""The features of a cut: read where stage 3 stored them, else computed from its audio."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from rnnt.data.audio import read_samples
from rnnt.data.augment import augment_copies, change_speed, draw_ratio, is_drawn
from rnnt.data.config import read_feature_config
from rnnt.data.fbank import make_extractor
from rnnt.data.noise import NoiseSource, mix_log_energies, mix_samples
from rnnt.data.room import Rooms, reverberate, telephone
from rnnt.errors import UserError

if TYPE_CHECKING:
    from lhotse.cut import Cut
    from torch import Tensor

    from rnnt.data.config import AugmentConfig, FeatureConfig
    from rnnt.data.fbank import Extractor
    from rnnt.data.manifest import Manifest


class Loader(Protocol):
    """What `PlannedBatches` asks of a loader: the features of the cuts of its manifest."""

    def load(self, cut: Any, generator: np.random.Generator | None = None) -> np.ndarray:
        """(T, F) float32; `generator` is for all draws of augmentation."""

    def load_copies(self, cut: Any, generator: np.random.Generator, copies: int) -> list[np.ndarray]:
        """The same several times, with masks of their own; see `augment_copies`."""


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """The same sums in every process: more threads of torch would add in another order, and not be faster."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def compute_features(extractor: Extractor, samples: np.ndarray | Tensor, seed: int) -> np.ndarray:
    """(num_samples,) -> (T, F) float32; `seed` fixes the dither and nothing else."""
    if not extractor.dither:
        return extractor.extract(samples)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return extractor.extract(samples)


def seed_of(cut: Cut) -> int:
    """The seed of a cut's dither, wherever its features are computed."""
    return zlib.crc32(cut.id.encode())


class FeatureLoader(Loader):
    """Features of cuts, stored or not, with augmentation or without.

    Speed comes first, then the room, noise, a telephone line, gain and SpecAugment. Noise is added to the samples where
    features are computed here, and to the energies where they were stored.

    Args:
        config: the front-end.
        augment_config: None for the features as they are.
        fill_F: what masked cells become; needed where `augment_config` masks.

    Raises:
        UserError: when the manifest of noise is missing or has other features, or --rir-dir has no audio.
    """

    def __init__(
        self, config: FeatureConfig, augment_config: AugmentConfig | None = None, fill_F: np.ndarray | None = None
    ) -> None:
        self.config = config
        self.augment_config = augment_config
        self.fill_F = fill_F
        self._extractor: Extractor | None = None
        self._rooms = Rooms(augment_config.rir_dir if augment_config is not None else "")
        self._noise: NoiseSource | None = None
        if augment_config is not None and augment_config.noise_manifest:
            self._noise = NoiseSource(augment_config.noise_manifest, config)

    def __getstate__(self) -> dict[str, Any]:
        # An extractor may be an object of C++: each process makes its own.
        return {**self.__dict__, "_extractor": None}

    def load(self, cut: Cut, generator: np.random.Generator | None = None) -> np.ndarray:
        """The features of a lhotse cut, (T, F) float32, free to be changed.

        Args:
            cut: with features or audio.
            generator: for all draws of augmentation; needed with `augment_config`.

        Raises:
            UserError: when the options ask for what stored features can't give.
            Exception: of one of many kinds; it says what can't be read.
        """
        if self.augment_config is None:
            return self._plain(cut)
        assert generator is not None, "augmentation needs a generator"
        return self.load_copies(cut, generator, 1)[0]

    def load_copies(self, cut: Cut, generator: np.random.Generator, copies: int) -> list[np.ndarray]:
        """The features several times, see `augment_copies`; otherwise as `load`."""
        config = self.augment_config
        if config is None:
            x_TF = self._plain(cut)
            return [x_TF, *(x_TF.copy() for _ in range(copies - 1))]
        with one_thread():
            load = self._stored if cut.has_features else self._computed
            return augment_copies(load(cut, config, generator), self.fill_F, config, generator, copies)

    def _plain(self, cut: Cut) -> np.ndarray:
        if cut.has_features:
            return np.array(cut.load_features(), dtype=np.float32)
        with one_thread():
            return self._extract(read_samples(cut, self.config), seed_of(cut))

    def _extract(self, samples: np.ndarray, seed: int) -> np.ndarray:
        if self._extractor is None:
            self._extractor = make_extractor(self.config)
        return compute_features(self._extractor, samples, seed)

    def _stored(self, cut: Cut, config: AugmentConfig, generator: np.random.Generator) -> np.ndarray:
        for name in config.audio_options:
            raise UserError(
                f"{name} needs audio, and the features are stored; run prepare.sh with --features onthefly, or leave "
                "the option out"
            )
        x_TF = self._plain(cut)
        snr = self._draw_snr(config, generator)
        if self._noise is None or snr is None:
            return x_TF
        if self.config.is_normalized:
            raise UserError(
                f"--noise-manifest: {self.config.frontend} is normalised, so noise needs audio, and the features are "
                "stored; run prepare.sh with --features onthefly, or leave the option out"
            )
        noise_TF = self._noise.draw(len(x_TF), 1 / self.config.frame_shift, self._plain, generator)
        return mix_log_energies(x_TF, noise_TF, snr)

    def _computed(self, cut: Cut, config: AugmentConfig, generator: np.random.Generator) -> np.ndarray:
        samples, rate = read_samples(cut, self.config), self.config.sampling_rate
        if config.perturb_speed_on_the_fly:
            samples = change_speed(samples, draw_ratio(config, rate, generator))
        if config.reverb_prob and is_drawn(config.reverb_prob, generator):
            samples = reverberate(samples, self._rooms.draw(rate, generator))
        snr = self._draw_snr(config, generator)
        if self._noise is not None and snr is not None:
            noise = self._noise.draw(len(samples), rate, lambda cut: read_samples(cut, self.config), generator)
            samples = mix_samples(samples, noise, snr)
        if config.telephone_prob and is_drawn(config.telephone_prob, generator):
            samples = telephone(samples, rate)
        return self._extract(samples, int(generator.integers(2**31)))

    def _draw_snr(self, config: AugmentConfig, generator: np.random.Generator) -> float | None:
        """Decibels, or None for an utterance without noise."""
        if self._noise is None or generator.random() >= config.noise_prob:
            return None
        return generator.uniform(config.noise_snr_min, config.noise_snr_max)


def open_feature_loader(
    manifest: Manifest, augment_config: AugmentConfig | None = None, fill_F: np.ndarray | None = None
) -> FeatureLoader:
    """The `FeatureLoader` of a manifest, with the front-end that the features.json beside it describes."""
    return FeatureLoader(read_feature_config(manifest.path.with_name("features.json")), augment_config, fill_F)
