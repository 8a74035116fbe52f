"""Augmentation of one utterance's features, from draws that the caller provides."""

import math

import numpy as np
import torch


def augment(x_TF, fill_F, config, generator):
    """Gain, then SpecAugment. Arguments as for `spec_augment`; returns the new features, (T, F), maybe in place."""
    if config.gain_db:
        random_gain(x_TF, config, generator)
    if config.enable_spec_aug:
        if config.time_warp_factor:
            x_TF = time_warp(x_TF, config.time_warp_factor, generator)
        spec_augment(x_TF, fill_F, config, generator)
    return x_TF


def random_gain(x_TF, config, generator):
    """A gain of g dB on the samples adds g ln(10) / 10 to every log-mel energy; g is uniform within +-`gain_db`."""
    x_TF += np.float32(generator.uniform(-config.gain_db, config.gain_db) * math.log(10) / 10)
    return x_TF


def time_warp(x_TF, factor, generator):
    """Move a random frame by up to `factor` frames and stretch what lies before and after it; T stays.

    As lhotse's and ESPnet's: the frame is more than `factor` frames from both ends, interpolation is bicubic, and what
    is too short for that stays as it is.
    """
    frames = len(x_TF)
    if frames - factor <= factor + 1:
        return x_TF
    centre = int(generator.integers(factor + 1, frames - factor))
    moved = int(generator.integers(centre - factor, centre + factor + 1))
    parts = (x_TF[:centre], moved), (x_TF[centre:], frames - moved)
    return np.concatenate([_stretch(part_TF, length) for part_TF, length in parts])


def _stretch(x_TF, frames):
    """(T, F) -> (frames, F)."""
    x_11TF = torch.from_numpy(x_TF)[None, None]
    size = (frames, x_TF.shape[1])
    return torch.nn.functional.interpolate(x_11TF, size=size, mode="bicubic", align_corners=False)[0, 0].numpy()


def spec_augment(x_TF, fill_F, config, generator):
    """Mask bands of features and stretches of frames, in place.

    Widths are uniform up to the largest allowed, as in Park et al. 2019; a mask may lie anywhere, up to the last frame
    and bin. The stretches of frames share the budget `max_frames_mask_fraction` x T evenly, each of at most a rounded
    number of frames, so a short utterance is never wiped out.

    Args:
      x_TF: numpy array (T, F).
      fill_F: what a masked cell becomes: the mean over the training set.
      config: `AugmentConfig`.
      generator: `numpy.random.Generator`.
    """
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
