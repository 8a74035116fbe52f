"""Batches are the same whoever computes them, and from where the features come."""

import numpy as np
import pytest
import torch

from rnnt.data.config import AugmentConfig, FeatureConfig
from rnnt.data.dataset import Batches, PlannedBatches, open_batches
from rnnt.data.feature_loader import FeatureLoader, open_feature_loader
from rnnt.data.manifest import CutManifest
from rnnt.errors import UserError

AUGMENT = AugmentConfig(perturb_speed_on_the_fly="0.9-1.1", gain_db=3, features_mask_size=4)
PLAN = [np.array([0, 2]), np.array([1, 5]), np.array([3]), np.array([4])]


def batches(folder, epoch=1, num_workers=0, positions=range(4)):
    manifest = CutManifest(folder / "train.jsonl")
    loader = open_feature_loader(manifest, AUGMENT, np.zeros(20, np.float32))
    dataset = PlannedBatches(manifest, PLAN, loader, seed=7, epoch=epoch)
    return {batch.position: batch for batch in Batches(dataset, positions, num_workers)}


@pytest.fixture(params=[1, 2])
def threads(request):
    """Threads of this process; those that load have one each."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def test_every_draw_comes_from_seed_epoch_and_position(audio_set, threads):
    plain, workers = batches(audio_set), batches(audio_set, num_workers=2)
    resumed = batches(audio_set, positions=[3, 2])
    for position, batch in plain.items():
        assert torch.equal(batch.x_BTF, workers[position].x_BTF)
        assert torch.equal(batch.x_len_B, workers[position].x_len_B)
    assert torch.equal(resumed[2].x_BTF, plain[2].x_BTF)
    other = batches(audio_set, epoch=2)
    assert any(not torch.equal(batch.x_len_B, other[position].x_len_B) for position, batch in plain.items())


def test_on_the_fly_without_augmentation_is_the_plain_features(audio_set):
    manifest = CutManifest(audio_set / "train.jsonl")
    plain = FeatureLoader(FeatureConfig(sampling_rate=8000, num_mel_bins=20))
    seen = 0
    for batch in open_batches(manifest, open_feature_loader(manifest), 2.0, num_workers=1):
        for i, cut_id in enumerate(batch.ids):
            cut = next(c for c in (manifest[n] for n in range(len(manifest))) if c.id == cut_id)
            np.testing.assert_array_equal(batch.x_BTF[i, : batch.x_len_B[i]], plain.load(cut))
            assert batch.durations[i] == cut.duration
            seen += 1
    assert seen == len(manifest)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_unreadable_audio_is_one_line(audio_set, num_workers):
    (audio_set / "utt-0-4.wav").write_bytes(b"RIFF")
    with pytest.raises(UserError) as error:
        batches(audio_set, num_workers=num_workers)
    message = str(error.value)
    assert f"train.jsonl: cut utt-0-4: can't read {audio_set}/utt-0-4.wav" in message and "\n" not in message
