"""Speed perturbation of samples."""

import numpy as np
import pytest
from lhotse.augmentation import Speed

from rnnt.data.augment import change_speed, draw_ratio
from rnnt.data.config import AugmentConfig


def tone(hertz, rate=8000, seconds=1.0):
    return np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate).astype(np.float32)


def loudest(samples, rate=8000):
    return np.argmax(np.abs(np.fft.rfft(samples, rate)))


def draws(text, number=400):
    config = AugmentConfig(perturb_speed_on_the_fly=text)
    generator = np.random.default_rng(0)
    return [draw_ratio(config, 8000, generator) for _ in range(number)]


def test_a_factor_is_that_of_stored_speed_perturbation():
    ratios = draws("0.9 1.0 1.1")
    assert set(ratios) == {(7200, 8000), (8000, 8000), (8800, 8000)}
    for ratio in set(ratios):
        samples, expected = change_speed(tone(500), ratio), Speed(ratio[0] / 8000)(tone(500)[None], 8000)[0]
        assert len(samples) == round(8000 * 8000 / ratio[0])
        np.testing.assert_array_equal(samples, expected[: len(samples)])


def test_a_range_is_uniform_in_length():
    lengths = np.array([n / m for m, n in draws("0.8-1.25", 20000)])
    assert lengths.min() == 0.8 and lengths.max() == 1.25
    fractions = np.bincount(np.round(lengths * 100).astype(int))[80:126] / 20000
    assert fractions.min() > 0.6 / 46 and fractions.max() < 1.4 / 46


def test_faster_is_shorter_and_higher():
    fast = change_speed(tone(500), (100, 80))
    assert len(fast) == 6400 and abs(loudest(fast) - 625) <= 1
    slow = change_speed(tone(500), (100, 115))
    assert len(slow) == 9200 and abs(loudest(slow) - 500 / 1.15) <= 1


@pytest.mark.parametrize("text", ["fast", "0.9-", "1.1-0.9", "0.9-1.0-1.1", "0.4", "0.9 3", "-1"])
def test_bad_speeds_are_refused(text):
    with pytest.raises(ValueError, match="--perturb-speed-on-the-fly"):
        AugmentConfig(perturb_speed_on_the_fly=text)
