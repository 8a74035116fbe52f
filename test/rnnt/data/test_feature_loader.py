"""Features from audio are those that stage 3 would have stored."""

import pickle

import numpy as np
import pytest
from lhotse import CutSet, LilcomChunkyWriter
from lhotse.features.kaldi.extractors import Fbank, FbankConfig

from rnnt.data.config import AugmentConfig, FeatureConfig
from rnnt.data.feature_loader import FeatureLoader
from rnnt.errors import UserError

CONFIG = FeatureConfig(sampling_rate=8000, num_mel_bins=20)
SPEED = AugmentConfig(enable_spec_aug=False, perturb_speed_on_the_fly="0.9 1.1")


@pytest.fixture
def cuts(audio_set):
    return list(CutSet.from_file(audio_set / "train.jsonl"))


def lhotse_fbank():
    return Fbank(FbankConfig(sampling_rate=8000, num_filters=20))


def test_computed_equals_lhotse(cuts):
    loader = FeatureLoader(CONFIG)
    for cut in cuts:
        np.testing.assert_allclose(loader.load(cut), cut.compute_features(lhotse_fbank()), atol=1e-4)


def test_stored_are_read(cuts, tmp_path):
    loader = FeatureLoader(CONFIG)
    stored = CutSet.from_cuts(cuts).compute_and_store_features(
        lhotse_fbank(), tmp_path / "f", storage_type=LilcomChunkyWriter
    )
    for cut in stored:
        x_TF = loader.load(cut)
        np.testing.assert_array_equal(x_TF, cut.load_features())
        x_TF += 1  # a copy of its own


def test_other_rates_are_resampled(cuts):
    cut = cuts[3].resample(16000)
    x_TF = FeatureLoader(FeatureConfig()).load(cut)
    assert x_TF.shape == (round(cut.duration * 100), 80)


def test_dither_depends_on_the_cut_alone(cuts):
    config = FeatureConfig(sampling_rate=8000, num_mel_bins=20, dither=1e-3)
    loader = FeatureLoader(config)
    first = [loader.load(cut) for cut in cuts]
    again = pickle.loads(pickle.dumps(loader))
    for cut, x_TF in reversed(list(zip(cuts, first))):
        np.testing.assert_array_equal(again.load(cut), x_TF)
    assert (loader.load(cuts[0]) != FeatureLoader(CONFIG).load(cuts[0])).any()


def test_speed_is_that_of_a_perturbed_cut(cuts):
    loader = FeatureLoader(CONFIG, SPEED)
    plain = FeatureLoader(CONFIG)
    for seed, cut in enumerate(cuts):
        x_TF = loader.load(cut, np.random.default_rng(seed))
        expected = [plain.load(cut.perturb_speed(factor)) for factor in (0.9, 1.1)]
        assert any(x_TF.shape == e.shape and np.array_equal(x_TF, e) for e in expected)


def test_speed_needs_audio(toy):
    cut = next(iter(CutSet.from_file(toy / "train.jsonl")))
    with pytest.raises(UserError, match="--features onthefly"):
        FeatureLoader(CONFIG, SPEED).load(cut, np.random.default_rng(0))
