import sys

import numpy as np
import pytest
import torch

from rnnt.data.config import FeatureConfig
from rnnt.data.fbank import make_extractor, resolve_device
from rnnt.errors import UserError


def speech_like(num_samples, sampling_rate, seed=0):
    time = np.arange(num_samples) / sampling_rate
    noise = np.random.default_rng(seed).standard_normal(num_samples)
    tones = sum(np.sin(2 * np.pi * f * time) / f for f in (150, 300, 900, 2500))
    return (0.3 * tones / np.abs(tones).max() + 0.01 * noise).astype(np.float32)


@pytest.mark.parametrize("sampling_rate, bins", [(8000, 40), (16000, 80)])
@pytest.mark.parametrize("num_samples", [4000, 8041, 8039])
def test_shape_and_number_of_frames(sampling_rate, bins, num_samples):
    config = FeatureConfig(sampling_rate=sampling_rate, num_mel_bins=bins)
    x_TF = make_extractor(config, "lhotse").extract(speech_like(num_samples, sampling_rate))
    shift = sampling_rate // 100
    assert x_TF.shape == ((num_samples + shift // 2) // shift, bins)
    assert x_TF.dtype == np.float32 and np.isfinite(x_TF).all()


@pytest.mark.parametrize("sampling_rate, least", [(8000, 70), (16000, 140)])
def test_audio_without_a_frame_is_one_line(sampling_rate, least):
    extractor = make_extractor(FeatureConfig(sampling_rate=sampling_rate, num_mel_bins=40), "lhotse")
    assert extractor.extract(speech_like(least, sampling_rate)).shape == (1, 40)
    for number in (0, 100 * sampling_rate // 16000, least - 1):
        with pytest.raises(UserError, match=f"^{number} samples of audio; a frame of features needs {least}$"):
            extractor.extract(np.zeros(number, np.float32))


def test_numpy_and_torch_give_the_same():
    extractor = make_extractor(FeatureConfig())
    samples = speech_like(16000, 16000)
    np.testing.assert_array_equal(extractor.extract(samples), extractor.extract(torch.from_numpy(samples)))


def test_a_tone_is_found_in_its_filter():
    config = FeatureConfig(sampling_rate=8000, num_mel_bins=40)
    time = np.arange(8000) / 8000
    low, high = (
        make_extractor(config, "lhotse").extract((0.1 * np.sin(2 * np.pi * f * time)).astype(np.float32)).mean(axis=0)
        for f in (300, 2500)
    )
    assert low.argmax() < 12 and high.argmax() > 28


def test_kaldifeat_agrees_with_lhotse():
    pytest.importorskip("kaldifeat")
    for config in (FeatureConfig(), FeatureConfig(sampling_rate=8000, num_mel_bins=40)):
        samples = speech_like(3 * config.sampling_rate + 17, config.sampling_rate)
        by_lhotse, by_kaldifeat = (
            make_extractor(config, library).extract(samples) for library in ("lhotse", "kaldifeat")
        )
        np.testing.assert_allclose(by_lhotse, by_kaldifeat, atol=1e-4)


def test_without_kaldifeat_lhotse_is_used(monkeypatch):
    monkeypatch.setitem(sys.modules, "kaldifeat", None)
    assert make_extractor(FeatureConfig()).name == "lhotse"
    with pytest.raises(UserError, match="kaldifeat is not installed"):
        make_extractor(FeatureConfig(), "kaldifeat")


NO_GPU = not torch.cuda.is_available()


def test_where_features_are_computed():
    config, with_dither = FeatureConfig(), FeatureConfig(dither=1e-3)
    assert resolve_device("cpu", "kaldifeat", config) == "cpu"
    assert resolve_device("auto", "kaldifeat", config) == ("cpu" if NO_GPU else "cuda")
    for library, features in (("lhotse", config), ("kaldifeat", with_dither)):
        assert resolve_device("auto", library, features) == "cpu"
    with pytest.raises(UserError, match="--device cuda: dither is drawn on the CPU; give --device cpu"):
        resolve_device("cuda", "lhotse", with_dither)
    with pytest.raises(UserError, match="slaney_log_mel is computed on the CPU"):
        resolve_device("cuda", "rnnt", FeatureConfig(frontend="slaney_log_mel"))


@pytest.mark.skipif(not NO_GPU, reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_one_line():
    with pytest.raises(UserError, match="--device cuda: .+; give --device cpu"):
        resolve_device("cuda", "lhotse", FeatureConfig())


@pytest.mark.skipif(NO_GPU, reason="no GPU")
@pytest.mark.parametrize("library", ["lhotse", "kaldifeat"])
def test_a_gpu_gives_the_same_features(library):
    if library == "kaldifeat":
        pytest.importorskip("kaldifeat")
    config, samples = FeatureConfig(), speech_like(32017, 16000)
    there = make_extractor(config, library, "cuda").extract(samples)
    np.testing.assert_allclose(there, make_extractor(config, library).extract(samples), atol=1e-3)


def test_filters_beyond_half_the_sampling_rate_are_refused():
    for options in ({"sampling_rate": 8000, "high_freq": 7600.0}, {"low_freq": 9000.0}, {"high_freq": -8000.0}):
        with pytest.raises(ValueError, match="they must rise"):
            FeatureConfig(**options)


def test_two_channels_are_refused():
    with pytest.raises(ValueError, match=r"one channel.*\(2, 100\)"):
        make_extractor(FeatureConfig()).extract(np.zeros((2, 100), dtype=np.float32))
