"""Resampling: tones stay what they are, and no pair of rates takes much memory."""

import math
import tracemalloc

import numpy as np
import pytest

from rnnt.data.sound.resampling import LARGEST_BANK, bank_size, resample, resample_directly


def tone(hertz, rate, count):
    return np.sin(2 * np.pi * hertz * np.arange(count) / rate).astype(np.float32)


@pytest.mark.parametrize("rate", [48001, 44099, 22254, 7999, 11127, 999983])
@pytest.mark.parametrize("wanted", [8000, 16000])
def test_awkward_rates_keep_a_tone_in_little_memory(rate, wanted):
    samples_CN = np.stack([tone(440, rate, rate // 5), tone(1000, rate, rate // 5)])
    tracemalloc.start()
    found_CN = resample(samples_CN, rate, wanted)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found_CN.shape == (2, math.ceil(samples_CN.shape[1] * wanted / rate)) and found_CN.dtype == np.float32
    expected_CN = np.stack([tone(hertz, wanted, found_CN.shape[1]) for hertz in (440, 1000)])
    np.testing.assert_allclose(found_CN[:, 200:-200], expected_CN[:, 200:-200], atol=0.01)
    assert peak < 100e6


@pytest.mark.parametrize("rate, wanted", [(44100, 8000), (44100, 16000), (11025, 16000), (48000, 8000), (8000, 16000)])
def test_without_a_filter_bank_the_samples_are_the_same(rate, wanted):
    samples = np.random.default_rng(0).standard_normal((2, 12345)).astype(np.float32)
    assert bank_size(rate, wanted) <= LARGEST_BANK
    found, expected = resample_directly(samples, rate, wanted), resample(samples, rate, wanted)
    np.testing.assert_allclose(found, expected, atol=1e-4)  # the times of lhotse's bank are float32


@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_short_inputs(count):
    for rate in (48001, 48000):
        assert resample(np.ones((1, count), np.float32), rate, 8000).shape == (1, math.ceil(count / 6))


def test_what_is_above_the_new_band_is_removed():
    samples = tone(15000, 48001, 20000)
    assert np.abs(resample(samples, 48001, 16000)[100:-100]).max() < 0.01


def test_no_large_filter_bank_is_made(monkeypatch):
    import lhotse.augmentation as module

    monkeypatch.setattr(module, "get_or_create_resampler", lambda *rates: pytest.fail(f"a bank for {rates}"))
    resample(np.zeros(1000, np.float32), 48001, 8000)
    assert bank_size(48001, 8000) > 300e6
