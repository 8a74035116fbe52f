"""SpecAugment masks what it may, and no more."""

import numpy as np
import pytest
import torch
from lhotse.dataset import signal_transforms

from rnnt.data.augment import augment, spec_augment, time_warp
from rnnt.data.config import AugmentConfig


def masked(frames, config, seed):
    x = np.ones((frames, 20), np.float32)
    spec_augment(x, np.zeros(20, np.float32), config, np.random.default_rng(seed))
    return x


def test_draws_come_from_the_generator_alone():
    config = AugmentConfig()
    np.testing.assert_array_equal(masked(100, config, 3), masked(100, config, 3))
    assert (masked(100, config, 3) != masked(100, config, 4)).any()


def test_limits():
    config = AugmentConfig(num_feature_masks=0, num_frame_masks=10, max_frames_mask_fraction=0.2)
    fractions = [1 - masked(200, config, s).mean() for s in range(50)]
    assert 0 < max(fractions) <= 0.2 and np.mean(fractions) > 0.05
    config = AugmentConfig(num_feature_masks=2, features_mask_size=4, num_frame_masks=0)
    fractions = [1 - masked(50, config, s).mean() for s in range(50)]
    assert 0 < max(fractions) <= 0.4


def test_masks_reach_every_row_and_column():
    config = AugmentConfig(features_mask_size=4, num_frame_masks=2, max_frames_mask_fraction=0.5)
    hidden = np.zeros((12, 20), bool)
    for seed in range(300):
        hidden |= masked(12, config, seed) == 0
    assert hidden.all()


def test_ten_masks_of_up_to_three_percent_each():
    """SpecAugment of the MLPerf RNN-T: 10 stretches of 0 .. round(0.03 T) frames."""
    config = AugmentConfig(num_feature_masks=0, max_frames_mask_fraction=0.3, frames_mask_size=10_000)
    longest = []
    for frames in (1600, 1650, 1690, 10):
        widths = [(masked(frames, config, seed)[:, 0] == 0).sum() for seed in range(100)]
        longest.append(max(widths))
        assert max(widths) <= 10 * round(0.03 * frames)
    assert longest[-1] == 0 and longest[0] > 200
    single = AugmentConfig(
        num_feature_masks=0, num_frame_masks=1, max_frames_mask_fraction=0.03, frames_mask_size=10_000
    )
    widths = {int((masked(1690, single, seed)[:, 0] == 0).sum()) for seed in range(2000)}
    assert widths == set(range(round(0.03 * 1690) + 1))


def test_short_utterances_survive():
    for frames in (1, 2, 5):
        assert np.isfinite(masked(frames, AugmentConfig(features_mask_size=3), 0)).all()


def test_masked_cells_become_the_mean():
    fill = np.arange(20, dtype=np.float32) + 7
    x = np.zeros((50, 20), np.float32)
    spec_augment(x, fill, AugmentConfig(features_mask_size=5), np.random.default_rng(0))
    changed = np.broadcast_to(fill, x.shape)[x != 0]
    np.testing.assert_array_equal(x[x != 0], changed)
    assert len(changed)


def test_gain_moves_all_log_energies_alike():
    config = AugmentConfig(gain_db=10, enable_spec_aug=False)
    shifts = []
    for seed in range(100):
        x = augment(np.zeros((3, 4), np.float32), None, config, np.random.default_rng(seed))
        assert np.ptp(x) == 0
        shifts.append(x[0, 0])
    # 10 dB are a factor of ten in energy.
    assert 0.8 * np.log(10) < max(shifts) <= np.log(10) and -np.log(10) <= min(shifts) < -0.8 * np.log(10)


def test_nothing_is_done_unless_asked():
    x = np.ones((20, 20), np.float32)
    assert (augment(x, None, AugmentConfig(enable_spec_aug=False), np.random.default_rng(0)) == 1).all()


@pytest.mark.parametrize("frames", [200, 161, 50])
def test_time_warp_is_that_of_lhotse(frames, monkeypatch):
    x_TF = np.random.default_rng(0).standard_normal((frames, 20)).astype(np.float32)
    one, other = np.random.default_rng(5), np.random.default_rng(5)
    monkeypatch.setattr(np.random, "randint", other.integers)
    for _ in range(5):
        expected = signal_transforms.time_warp(torch.from_numpy(x_TF), 30).numpy()
        np.testing.assert_allclose(time_warp(x_TF, 30, one), expected, atol=1e-6)
    assert len(expected) == frames and (frames == 50) == np.array_equal(expected, x_TF)


def test_time_warp_is_part_of_spec_augment():
    config = AugmentConfig(num_feature_masks=0, num_frame_masks=0, time_warp_factor=20)
    x_TF = np.random.default_rng(0).standard_normal((100, 20)).astype(np.float32)
    assert (augment(x_TF.copy(), None, config, np.random.default_rng(0)) != x_TF).any()
