"""Noise is mixed at the ratio asked for, as lhotse mixes it, from draws of the generator alone."""

import json

import numpy as np
import pytest
from lhotse import CutSet, LilcomChunkyWriter
from lhotse.audio.mixer import AudioMixer
from lhotse.features.kaldi.extractors import Fbank, FbankConfig
from lhotse.features.mixer import FeatureMixer

from rnnt.data.config import AugmentConfig, FeatureConfig
from rnnt.data.feature_loader import FeatureLoader
from rnnt.data.noise import NoiseSource, mix_log_energies, mix_samples
from rnnt.errors import UserError
from rnnt.options import make, to_dict

CONFIG = FeatureConfig(sampling_rate=8000, num_mel_bins=20)
FBANK = Fbank(FbankConfig(sampling_rate=8000, num_filters=20))


def noisy(audio_set, **options):
    """An `AugmentConfig` with the utterances of the set as noise too."""
    return AugmentConfig(enable_spec_aug=False, noise_manifest=str(audio_set / "train.jsonl"), noise_prob=1, **options)


@pytest.fixture
def stored(audio_set):
    """The same set with stored features, at train.jsonl."""
    cuts = CutSet.from_file(audio_set / "train.jsonl").to_eager()
    cuts = cuts.compute_and_store_features(FBANK, audio_set / "feats", storage_type=LilcomChunkyWriter)
    cuts.to_file(audio_set / "train.jsonl")
    return audio_set


def cuts_of(audio_set):
    return list(CutSet.from_file(audio_set / "train.jsonl"))


def test_samples_are_mixed_as_lhotse_does(audio_set):
    signal, noise = (
        np.random.default_rng(i).standard_normal(4000).astype(np.float32) * s for i, s in ((0, 0.1), (1, 0.4))
    )
    mixer = AudioMixer(signal[None], sampling_rate=8000)
    mixer.add_to_mix(noise[None], snr=7)
    mixed = mix_samples(signal, noise, 7)
    assert mixed.dtype == np.float32
    np.testing.assert_allclose(mixed, mixer.mixed_audio[0], rtol=1e-5, atol=1e-6)
    ratio = np.mean(signal**2) / np.mean((mixed - signal) ** 2)
    assert 10 * np.log10(ratio) == pytest.approx(7, abs=0.01)


def test_energies_are_mixed_as_lhotse_does():
    generator = np.random.default_rng(0)
    x_TF, noise_TF = (generator.normal(mean, 2, (50, 20)).astype(np.float32) for mean in (-5, -9))
    mixer = FeatureMixer(FBANK, x_TF, frame_shift=0.01)
    mixer.add_to_mix(noise_TF, sampling_rate=8000, snr=12)
    mixed_TF = mix_log_energies(x_TF, noise_TF, 12)
    assert mixed_TF.dtype == np.float32
    np.testing.assert_allclose(mixed_TF, mixer.mixed_feats, atol=1e-4)


def test_both_domains_agree_about(stored):
    """What the waveforms give, the energies give on average: unrelated signals' energies add up."""
    config = noisy(stored, noise_snr_min=0, noise_snr_max=0)
    plain, mixed = FeatureLoader(CONFIG), FeatureLoader(CONFIG, config)
    differences = []
    for cut in cuts_of(stored):
        without = cut.drop_features()
        differences.append(
            (mixed.load(cut, np.random.default_rng(1)) - plain.load(cut)).mean()
            - (mixed.load(without, np.random.default_rng(1)) - plain.load(without)).mean()
        )
    assert np.abs(np.mean(differences)) < 0.1
    gains = [(mixed.load(cut, np.random.default_rng(1)) - plain.load(cut)).mean() for cut in cuts_of(stored)]
    # Noise as strong as the signal doubles the energy.
    assert np.mean(gains) == pytest.approx(np.log(2), abs=0.1)


def test_silence_stays_finite():
    zeros, noise = np.zeros(100, np.float32), np.ones(100, np.float32)
    np.testing.assert_array_equal(mix_samples(noise, zeros, 10), noise)
    np.testing.assert_array_equal(mix_samples(zeros, noise, 10), zeros)


def test_fraction_and_range(audio_set):
    config = AugmentConfig(enable_spec_aug=False, noise_manifest=str(audio_set / "train.jsonl"), noise_prob=0.3)
    loader = FeatureLoader(CONFIG, config)
    generator = np.random.default_rng(0)
    drawn = [loader._draw_snr(config, generator) for _ in range(2000)]
    ratios = [snr for snr in drawn if snr is not None]
    assert len(ratios) / 2000 == pytest.approx(0.3, abs=0.05)
    assert 10 <= min(ratios) < 10.5 and 19.5 < max(ratios) <= 20


def test_noise_is_as_long_as_asked(audio_set):
    source = NoiseSource(audio_set / "train.jsonl", CONFIG)
    for length in (1, 700, 8000, 30000):
        noise = source.draw(length, 8000, lambda cut: cut.load_audio()[0], np.random.default_rng(length))
        assert noise.shape == (length,)
    chunks = {
        source.draw(700, 8000, lambda cut: cut.load_audio()[0], np.random.default_rng(i)).tobytes() for i in range(9)
    }
    assert len(chunks) == 9


@pytest.mark.parametrize("features", [True, False])
def test_draws_come_from_the_generator_alone(stored, features):
    loader = FeatureLoader(CONFIG, noisy(stored))
    cut = cuts_of(stored)[2] if features else cuts_of(stored)[2].drop_features()
    one, same, other = (loader.load(cut, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_bad_noise_is_one_line(stored, tmp_path):
    with pytest.raises(UserError, match="nowhere.jsonl: no such manifest"):
        FeatureLoader(CONFIG, AugmentConfig(noise_manifest="nowhere.jsonl"))
    other = FeatureConfig(sampling_rate=8000, num_mel_bins=40)
    with pytest.raises(UserError, match="num_mel_bins is 40 in the features of the utterances and 20 in"):
        FeatureLoader(other, noisy(stored))
    normalised = FeatureConfig(frontend="slaney_log_mel", sampling_rate=8000, num_mel_bins=20, high_freq=4000)
    (stored / "features.json").write_text(json.dumps(to_dict(normalised)))
    with pytest.raises(UserError, match="slaney_log_mel is normalised.*--features onthefly"):
        FeatureLoader(normalised, noisy(stored)).load(cuts_of(stored)[0], np.random.default_rng(0))
    (stored / "features.json").write_text(json.dumps(to_dict(CONFIG)))
    (stored / "feats.lca").unlink()
    plain = cuts_of(stored)[0].drop_features()
    with pytest.raises(UserError, match="train.jsonl: cut utt-0-.: can't read .*feats.lca"):
        loader = FeatureLoader(CONFIG, noisy(stored))
        loader._noise.draw(5, 100, lambda cut: cut.load_features(), np.random.default_rng(0))
    assert FeatureLoader(CONFIG, noisy(stored)).load(plain, np.random.default_rng(0)).shape == (50, 20)


@pytest.mark.parametrize("options", [{"noise_prob": 2}, {"noise_snr_min": 5, "noise_snr_max": 1}])
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match="--noise"):
        make(AugmentConfig, **options)
