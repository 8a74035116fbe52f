"""Changes of an utterance's samples before its features are computed, from draws that the caller provides."""

import torch


def draw_ratio(config, sampling_rate, generator):
    """Draw a speed: `(m, n)`, so that m samples become n. The speed is m / n: above 1 is faster, shorter and higher.

    Args:
      config: `AugmentConfig` with factors or a range.
      sampling_rate: samples a second; a factor is exact to one of them.
      generator: `numpy.random.Generator`.
    """
    if config.speed_factors:
        factor = config.speed_factors[generator.integers(len(config.speed_factors))]
        return round(sampling_rate * factor), sampling_rate
    low, high = config.speed_range
    # Steps of 1 % keep the resampling filters short, and few enough to be kept.
    return 100, int(generator.integers(round(100 / high), round(100 / low) + 1))


def change_speed(samples, ratio):
    """Samples (N,) float32 -> round(N n / m) samples, for a ratio (m, n), by lhotse's windowed-sinc filter."""
    m, n = ratio
    if m == n:
        return samples
    from lhotse.augmentation import get_or_create_resampler

    # The filter rounds up; the manifest of a perturbed cut rounds to the nearest.
    return get_or_create_resampler(m, n)(torch.from_numpy(samples)).numpy()[: round(len(samples) * n / m)]
