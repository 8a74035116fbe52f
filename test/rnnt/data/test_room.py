"""Rooms and telephone lines keep length, time and loudness, and depend on the draws alone."""

import numpy as np
import pytest
import soundfile
from lhotse import CutSet

from rnnt.data.config import AugmentConfig, FeatureConfig
from rnnt.data.feature_loader import FeatureLoader
from rnnt.data.room import Rooms, draw_room, reverberate, telephone
from rnnt.errors import UserError
from rnnt.options import make

RATE = 16000
CONFIG = FeatureConfig(sampling_rate=8000, num_mel_bins=20)


def clicks(length=RATE, at=(2000, 9000)):
    samples = np.zeros(length, np.float32)
    samples[list(at)] = 0.5
    return samples


def test_a_room_adds_a_decaying_tail_behind_the_sound():
    response = draw_room(RATE, np.random.default_rng(3))
    heard = reverberate(clicks(), response)
    assert heard.dtype == np.float32 and len(heard) == RATE
    assert np.mean(heard**2) == pytest.approx(np.mean(clicks() ** 2), rel=1e-4)
    np.testing.assert_allclose(heard[:2000], 0, atol=1e-6)
    assert int(np.argmax(np.abs(heard[:8000]))) == 2000
    scale = heard[2000] / 0.5
    np.testing.assert_allclose(heard[2000:5000], (0.5 * scale * response)[:3000], atol=1e-5)


def test_drawn_rooms_have_the_times_and_ratios_they_should():
    for seed in range(20):
        response = draw_room(RATE, np.random.default_rng(seed)).astype(float)
        assert response[0] == 1
        ratio = 10 * np.log10(1 / np.sum(response[1:] ** 2))
        assert -3.01 <= ratio <= 12.01
        # The energy that is still to come falls by 60 dB per T60: its slope between -5 and -25 dB.
        left = 10 * np.log10(np.cumsum(response[:0:-1] ** 2)[::-1] / np.sum(response[1:] ** 2))
        a, b = (int(np.argmax(left < level)) for level in (-5, -25))
        assert 0.12 <= 3 * (b - a) / RATE <= 0.9


def test_silence_and_short_samples_stay_what_they_are():
    response = draw_room(RATE, np.random.default_rng(0))
    assert not reverberate(np.zeros(100, np.float32), response).any()
    assert len(reverberate(np.ones(3, np.float32), response)) == 3
    assert not telephone(np.zeros(100, np.float32), RATE).any() and len(telephone(np.ones(3, np.float32), 44100)) == 3


def test_recorded_responses_begin_with_the_direct_sound(tmp_path):
    recorded = np.zeros(800)
    recorded[100], recorded[300] = 0.8, 0.2
    soundfile.write(tmp_path / "a.wav", np.stack([recorded, np.zeros(800)], axis=1), 8000)
    response = Rooms(tmp_path).draw(8000, np.random.default_rng(0))
    assert len(response) == 700 and response[0] == pytest.approx(0.8, abs=1e-3)
    assert len(Rooms(tmp_path).draw(16000, np.random.default_rng(0))) == pytest.approx(1400, abs=2)
    with pytest.raises(UserError, match="no audio files"):
        Rooms(tmp_path / "nothing")
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(UserError, match="a.wav.*--rir-dir"):
        Rooms(tmp_path).draw(8000, np.random.default_rng(0))
    soundfile.write(tmp_path / "a.wav", np.zeros(800), 8000)
    with pytest.raises(UserError, match="silence"):
        Rooms(tmp_path).draw(8000, np.random.default_rng(0))


def test_a_telephone_keeps_its_band_in_few_levels():
    time = np.arange(RATE) / RATE
    tones = {hertz: np.sin(2 * np.pi * hertz * time).astype(np.float32) for hertz in (100, 1000, 3000, 5000)}
    for hertz, tone in tones.items():
        power = np.mean(telephone(tone, RATE) ** 2)
        assert power == pytest.approx(0.5, rel=0.1) if 300 < hertz < 3400 else power < 0.01
    narrow = telephone(np.sin(2 * np.pi * 440 * np.arange(8000) / 8000).astype(np.float32), 8000)
    assert len(np.unique(np.round(narrow, 6))) <= 255


def test_features_follow_from_the_draws_alone(audio_set):
    cuts = list(CutSet.from_file(audio_set / "train.jsonl"))
    options = {"enable_spec_aug": False, "reverb_prob": 0.5, "telephone_prob": 0.5}
    loader, plain = FeatureLoader(CONFIG, AugmentConfig(**options)), FeatureLoader(CONFIG)
    changed = 0
    for seed, cut in enumerate(cuts):
        first, again = (loader.load(cut, np.random.default_rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(first, again)
        assert first.shape == plain.load(cut).shape
        changed += bool((first != plain.load(cut)).any())
    assert changed > 0


def test_stored_features_and_contradictions_are_refused(toy):
    cut = next(iter(CutSet.from_file(toy / "train.jsonl")))
    for name in ("reverb_prob", "telephone_prob"):
        loader = FeatureLoader(CONFIG, AugmentConfig(enable_spec_aug=False, **{name: 1.0}))
        with pytest.raises(UserError, match=f"--{name.replace('_', '-')} needs audio.*--features onthefly"):
            loader.load(cut, np.random.default_rng(0))
    with pytest.raises(ValueError, match="--rir-dir needs --reverb-prob"):
        make(AugmentConfig, rir_dir="x")
