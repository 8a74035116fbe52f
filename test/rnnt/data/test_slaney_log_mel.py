"""The MLPerf front-end against librosa, step by step from the definitions."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from rnnt.data.config import FeatureConfig
from rnnt.data.fbank import make_extractor
from rnnt.data.slaney_log_mel import hz_to_mel, mel_to_hz, normalize, trim_silence
from rnnt.errors import UserError

CONFIG = FeatureConfig(
    frontend="slaney_log_mel", frame_length_ms=20.0, low_freq=0.0, high_freq=8000.0, dither=0.0, num_mel_bins=80
)


def tones(seconds, seed=0, noise=0.01):
    time = np.arange(round(16000 * seconds)) / 16000
    generator = np.random.default_rng(seed)
    sweep = np.sin(2 * np.pi * (200 + 900 * time) * time) * (0.3 + 0.2 * np.sin(2 * np.pi * 3 * time))
    return (sweep + noise * generator.standard_normal(len(time))).astype(np.float32)


def with_silence(samples, before, after):
    return np.concatenate([np.zeros(before, np.float32), samples, np.zeros(after, np.float32)])


def oracle(samples, sampling_rate, bins):
    """The features by librosa, in double precision."""
    librosa = pytest.importorskip("librosa")
    samples = samples.astype(np.float64)
    width = min(2048, len(samples))
    powers = np.convolve(samples**2, np.ones(width) / width, "valid")
    loud = np.flatnonzero(10 * np.log10(np.maximum(powers, 1e-300) / powers.max()) >= -60)
    samples = samples[loud[0] : loud[-1] + width]
    x = librosa.effects.preemphasis(samples, coef=0.97, zi=[-0.97 * samples[0]])
    length, hop = sampling_rate // 50, sampling_rate // 100
    n_fft = 512 if sampling_rate == 16000 else 256
    power = (
        np.abs(librosa.stft(x, n_fft=n_fft, hop_length=hop, win_length=length, window="hann", pad_mode="reflect")) ** 2
    )
    mel = librosa.filters.mel(
        sr=sampling_rate, n_fft=n_fft, n_mels=bins, fmin=0, fmax=sampling_rate / 2, norm="slaney", dtype=np.float64
    )
    x = np.log(np.maximum(mel @ power, 1e-20)).T
    return (x - x.mean(axis=0)) / x.std(axis=0)


@pytest.mark.parametrize(
    "samples",
    [
        tones(2.0),
        tones(0.7, noise=1e-4),
        with_silence(tones(1.0), 6000, 9001),
        with_silence(tones(0.9), 1000, 0),
        np.random.default_rng(0).standard_normal(1500).astype(np.float32) * 0.1,
    ],
    ids=["sweep", "little noise", "silence", "short silence", "shorter than a window of silence"],
)
def test_made_signals_agree_with_librosa(samples):
    np.testing.assert_allclose(make_extractor(CONFIG).extract(samples), oracle(samples, 16000, 80), atol=1e-3)


def test_recordings_agree_with_librosa():
    soundfile = pytest.importorskip("soundfile")
    folder = Path(os.environ.get("RNNT_TEST_DATA", "/none"))
    paths = sorted(folder.glob("fsdd/recordings/*.wav"))[::500] + sorted(folder.glob("librispeech*/*/*/*/*.mp3"))[::150]
    if not paths:
        pytest.skip("no recordings: RNNT_TEST_DATA")
    for path in paths:
        samples, rate = soundfile.read(path, dtype="float32")
        config = FeatureConfig(
            frontend="slaney_log_mel", sampling_rate=rate, frame_length_ms=20.0, low_freq=0.0, high_freq=0.0,
            num_mel_bins=40,
        )  # fmt: skip
        np.testing.assert_allclose(
            make_extractor(config).extract(samples), oracle(samples, rate, 40), atol=1e-3, err_msg=str(path)
        )


def test_number_of_frames_and_normalisation():
    x_TF = make_extractor(CONFIG).extract(tones(1.5))
    assert x_TF.shape == (151, 80) and x_TF.dtype == np.float32
    np.testing.assert_allclose(x_TF.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(x_TF.std(axis=0), 1, atol=1e-5)


def test_silence_at_the_ends_goes_and_within_stays():
    loud = np.full(5000, 0.5, np.float32)
    quiet = np.full(20000, 0.5e-4, np.float32)
    kept = trim_silence(np.concatenate([quiet, loud, quiet, loud, quiet]))
    # A window with one loud sample of 2048 is 33 dB below the loudest: each end keeps what such windows cover.
    assert 30000 <= len(kept) <= 30000 + 2 * 2048
    assert (kept == 0.5).sum() == 10000
    assert len(trim_silence(np.zeros(3000, np.float32))) == 3000


def test_silence_has_finite_features():
    x_TF = make_extractor(CONFIG).extract(np.zeros(4000, np.float32))
    assert (x_TF == 0).all() and x_TF.shape == (26, 80)
    assert np.isfinite(make_extractor(CONFIG).extract(np.ones(1, np.float32))).all()


def test_a_constant_bin_becomes_zero():
    x_TF = torch.tensor([[1.0, 5.0], [3.0, 5.0]], dtype=torch.float64)
    assert normalize(x_TF).tolist() == [[-1.0, 0.0], [1.0, 0.0]]


def test_dither_is_small_and_comes_from_the_generator_of_torch():
    noisy = make_extractor(FeatureConfig(**{**vars(CONFIG), "dither": 1e-5}))
    samples = tones(1.0)
    samples[4000:8000] = 0
    torch.manual_seed(1)
    first = noisy.extract(samples)
    assert (first != noisy.extract(samples)).any()
    torch.manual_seed(1)
    np.testing.assert_array_equal(first, noisy.extract(torch.from_numpy(samples)))
    clean = make_extractor(CONFIG).extract(samples)
    # Digital silence gets the level of the noise instead of the floor of the logarithm.
    assert np.ptp(clean[30:45], axis=0).max() < 1e-6 < np.ptp(first[30:45], axis=0).min()


def test_the_scale_of_slaney():
    assert hz_to_mel(1000) == 15 and hz_to_mel(6400) == pytest.approx(42) and hz_to_mel(200) == 3
    hz = np.linspace(0, 8000, 100)
    np.testing.assert_allclose(mel_to_hz(hz_to_mel(hz)), hz, atol=1e-9)


def test_other_libraries_are_refused():
    assert make_extractor(CONFIG).name == "rnnt" and make_extractor(CONFIG, "rnnt").name == "rnnt"
    with pytest.raises(UserError, match="lhotse doesn't compute slaney_log_mel"):
        make_extractor(CONFIG, "lhotse")
    with pytest.raises(ValueError, match="one channel"):
        make_extractor(CONFIG).extract(np.zeros((2, 100), np.float32))
