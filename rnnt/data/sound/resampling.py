"""Resampling by a windowed sinc, with time and memory that are bounded for any pair of rates.

Output sample n is the sum over input samples i of x[i] h(i - n r), r the ratio of the rates,

    h(t) = s sinc(s t) cos^2(pi s t / (2 Z)) for |s t| < Z, else 0,    s = 0.99 min(1, 1 / r),    Z = 6,

as in torchaudio and lhotse (method "sinc_interp_hann"). Common rates have a large common divisor, so that few phases of
h occur: lhotse's filter bank holds them all. For others, such as 48001 to 8000 samples/s, it would take gigabytes, and
h is computed where it is needed.
"""

from __future__ import annotations

import math

import numpy as np

ZEROS = 6  # Z: zero crossings of the sinc on either side
ROLLOFF = 0.99
LARGEST_BANK = 1 << 20  # values of a filter bank
BLOCK = 1 << 20  # values of h that are computed at once


def resample(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Samples (..., N) at `rate` -> float32 (..., N') at `wanted`, N' = N wanted / rate rounded up."""
    if rate == wanted or not samples.size:
        return samples
    if bank_size(rate, wanted) > LARGEST_BANK:
        return resample_directly(samples, rate, wanted)
    try:
        import torch
        from lhotse.augmentation import get_or_create_resampler
    except ImportError:  # as where ONNX graphs run without them
        return resample_directly(samples, rate, wanted)

    return get_or_create_resampler(rate, wanted)(torch.from_numpy(samples)).numpy()


def bank_size(rate: int, wanted: int) -> int:
    """The number of values in the filter bank of all phases."""
    divisor = math.gcd(rate, wanted)
    return wanted // divisor * (rate // divisor + 2 * reach(rate, wanted))


def reach(rate: int, wanted: int) -> int:
    """Input samples on either side of an output sample that h covers."""
    return math.ceil(ZEROS * rate / (ROLLOFF * min(rate, wanted)))


def resample_directly(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """As `resample`, without a filter bank."""
    around, scale = reach(rate, wanted), ROLLOFF * min(1.0, wanted / rate)
    num_out = -(-samples.shape[-1] * wanted // rate)
    padding = [(0, 0)] * (samples.ndim - 1) + [(around, around + 2)]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(samples, padding), 2 * around + 2, axis=-1)
    offsets = np.arange(-around, around + 2)
    out = np.empty((*samples.shape[:-1], num_out), np.float32)
    count = max(1, BLOCK // len(offsets))
    for start in range(0, num_out, count):
        # The centre n r of each output sample, as whole input samples and a fraction.
        whole, rest = np.divmod(np.arange(start, min(start + count, num_out)) * rate, wanted)
        t = scale * (offsets - (rest / wanted)[:, None])
        h = scale * np.sinc(t) * np.cos(np.pi / (2 * ZEROS) * np.clip(t, -ZEROS, ZEROS)) ** 2
        out[..., start : start + count] = np.einsum("...nk,nk->...n", windows[..., whole, :], h.astype(np.float32))
    return out
