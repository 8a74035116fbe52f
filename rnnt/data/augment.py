"""Augmentation of one utterance's features, from draws that the caller provides."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from rnnt.data.sound.resampling import resample

if TYPE_CHECKING:
    from rnnt.data.config import AugmentConfig


def augment(
    x_TF: np.ndarray, fill_F: np.ndarray | None, config: AugmentConfig, generator: np.random.Generator
) -> np.ndarray:
    """Gain, then SpecAugment. Arguments as for `spec_augment`; returns the new features, (T, F), maybe in place."""
    return augment_copies(x_TF, fill_F, config, generator, 1)[0]


def augment_copies(
    x_TF: np.ndarray, fill_F: np.ndarray | None, config: AugmentConfig, generator: np.random.Generator, copies: int
) -> list[np.ndarray]:
    """`copies` times the features, with one gain and one warp of the time but masks of their own, for CR-CTC."""
    if config.gain_db:
        random_gain(x_TF, config, generator)
    if config.enable_spec_aug and config.time_warp_factor and is_drawn(config.spec_aug_prob, generator):
        x_TF = time_warp(x_TF, config.time_warp_factor, generator)
    made = [x_TF, *(x_TF.copy() for _ in range(copies - 1))]
    for copy_TF in made:
        if config.enable_spec_aug and is_drawn(config.spec_aug_prob, generator):
            spec_augment(copy_TF, fill_F, config, generator)
    return made


def is_drawn(probability: float, generator: np.random.Generator) -> bool:
    """True with this probability; draws nothing where it is 1."""
    return probability == 1 or generator.random() < probability


def random_gain(x_TF: np.ndarray, config: AugmentConfig, generator: np.random.Generator) -> np.ndarray:
    """A gain of g dB on the samples adds g ln(10) / 10 to every log-mel energy; g is uniform within +-`gain_db`."""
    x_TF += np.float32(generator.uniform(-config.gain_db, config.gain_db) * math.log(10) / 10)
    return x_TF


def time_warp(x_TF: np.ndarray, factor: int, generator: np.random.Generator) -> np.ndarray:
    """Move a random frame by up to `factor` frames and stretch what lies before and after it; T stays.

    As in lhotse and ESPnet: the frame is more than `factor` frames from both ends, interpolation is bicubic, and an
    utterance that is too short for that stays as it is.
    """
    frames = len(x_TF)
    if frames - factor <= factor + 1:
        return x_TF
    centre = int(generator.integers(factor + 1, frames - factor))
    moved = int(generator.integers(centre - factor, centre + factor + 1))
    parts = (x_TF[:centre], moved), (x_TF[centre:], frames - moved)
    return np.concatenate([_stretch(part_TF, length) for part_TF, length in parts])


def _stretch(x_TF: np.ndarray, frames: int) -> np.ndarray:
    """(T, F) -> (frames, F)."""
    x_11TF = torch.from_numpy(x_TF)[None, None]
    size = (frames, x_TF.shape[1])
    return torch.nn.functional.interpolate(x_11TF, size=size, mode="bicubic", align_corners=False)[0, 0].numpy()


def spec_augment(
    x_TF: np.ndarray, fill_F: np.ndarray | None, config: AugmentConfig, generator: np.random.Generator
) -> np.ndarray:
    """Mask bands of features and stretches of frames, in place.

    Widths are uniform up to the largest allowed, as in Park et al. 2019; a mask may lie anywhere, up to the last frame
    and bin. The stretches of frames divide the budget `max_frames_mask_fraction` x T evenly, each of at most a rounded
    number of frames, so a short utterance is never masked completely.

    Args:
        x_TF: features.
        fill_F: what a masked cell becomes: the mean over the training set. None where nothing is masked.
        config: number and sizes of the masks.
        generator: of all draws.

    Returns:
        `x_TF`.
    """
    if fill_F is None:
        assert config.num_feature_masks == config.num_frame_masks == 0, "masked cells need a value"
        return x_TF
    frames, features = x_TF.shape
    for _ in range(config.num_feature_masks):
        width = generator.integers(0, min(config.features_mask_size, features) + 1)
        start = generator.integers(0, features - width + 1)
        x_TF[:, start : start + width] = fill_F[start : start + width]
    if config.num_frame_masks:
        budget = config.max_frames_mask_fraction * frames / config.num_frame_masks
        longest = int(min(config.frames_mask_size, round(budget)))
        for _ in range(config.num_frame_masks):
            width = generator.integers(0, min(longest, frames) + 1)
            start = generator.integers(0, frames - width + 1)
            x_TF[start : start + width] = fill_F
    return x_TF


def draw_ratio(config: AugmentConfig, sampling_rate: int, generator: np.random.Generator) -> tuple[int, int]:
    """Draw a speed: `(m, n)`, so that m samples become n. The speed is m / n: above 1 is faster, shorter and higher.

    Args:
        config: factors of the speed, or a range.
        sampling_rate: samples per second; a factor is exact to one of them.
        generator: of the draw.
    """
    if config.speed_factors:
        factor = config.speed_factors[generator.integers(len(config.speed_factors))]
        return round(sampling_rate * factor), sampling_rate
    low, high = config.speed_range
    # Steps of 1 % keep the resampling filters short, and few enough to be cached.
    return 100, int(generator.integers(round(100 / high), round(100 / low) + 1))


def change_speed(samples: np.ndarray, ratio: tuple[int, int]) -> np.ndarray:
    """Samples (N,) float32 -> round(N n / m) samples, for a ratio (m, n)."""
    m, n = ratio
    # The filter rounds up; the manifest of a perturbed cut rounds to the nearest.
    return resample(samples, m, n)[: round(len(samples) * n / m)]
