"""The front-end as an object: samples in, log-mel filter banks out.

Kaldi's filter banks are computed by kaldifeat where it is installed, by lhotse's `Fbank` elsewhere. Both follow
Kaldi's `compute-fbank-feats` on samples in [-1, 1] and agree within 1e-4, so that models and features may be exchanged
between machines. The other front-end is in `slaney_log_mel.py`.
"""

import numpy as np
import torch

from rnnt.data.feature_library import resolve_library
from rnnt.data.slaney_log_mel import SlaneyLogMel


class KaldifeatFbank:
    """Log-mel filter banks by kaldifeat. `name` says so in features.json."""

    name = "kaldifeat"

    def __init__(self, config):
        import kaldifeat

        options = kaldifeat.FbankOptions()
        # kaldifeat's own defaults differ from lhotse's: 23 bins, high_freq 0, dither 1, snip_edges True.
        options.frame_opts.samp_freq = config.sampling_rate
        options.frame_opts.frame_length_ms = config.frame_length_ms
        options.frame_opts.frame_shift_ms = config.frame_shift_ms
        options.frame_opts.dither = config.dither
        options.frame_opts.snip_edges = config.snip_edges
        options.mel_opts.num_bins = config.num_mel_bins
        options.mel_opts.low_freq = config.low_freq
        options.mel_opts.high_freq = config.high_freq
        self._fbank = kaldifeat.Fbank(options)

    def extract(self, samples):
        """(num_samples,) float32 in [-1, 1], numpy or torch -> (T, F) float32 numpy."""
        return self._fbank(_as_tensor(samples)).numpy()


class LhotseFbank:
    """Log-mel filter banks by lhotse's `Fbank`."""

    name = "lhotse"

    def __init__(self, config):
        from lhotse.features.kaldi.extractors import Fbank, FbankConfig

        self._sampling_rate = config.sampling_rate
        self._fbank = Fbank(
            FbankConfig(
                sampling_rate=config.sampling_rate,
                num_filters=config.num_mel_bins,
                frame_length=config.frame_length_ms / 1000,
                frame_shift=config.frame_shift_ms / 1000,
                low_freq=config.low_freq,
                high_freq=config.high_freq,
                dither=config.dither,
                snip_edges=config.snip_edges,
            )
        )

    @torch.no_grad()
    def extract(self, samples):
        """(num_samples,) float32 in [-1, 1], numpy or torch -> (T, F) float32 numpy."""
        return self._fbank.extract(_as_tensor(samples), self._sampling_rate).numpy()


def _as_tensor(samples):
    if not isinstance(samples, torch.Tensor):
        samples = torch.from_numpy(np.ascontiguousarray(samples))
    if samples.ndim != 1:
        raise ValueError(f"expected samples of one channel, (num_samples,), got shape {tuple(samples.shape)}")
    return samples.to(torch.float32)


EXTRACTORS = {extractor.name: extractor for extractor in (KaldifeatFbank, LhotseFbank, SlaneyLogMel)}


def make_extractor(config, library="auto"):
    """The extractor of a `FeatureConfig`: an object with `.extract(samples) -> (T, F)` and `.name`.

    `library` is `auto` (kaldifeat where it imports, else lhotse), `kaldifeat` or `lhotse`. With `snip_edges` false,
    T is the number of samples divided by the frame shift, rounded. Raises `UserError` when the library that was
    asked for is not installed or the configuration makes no valid filters.
    """
    return EXTRACTORS[resolve_library(config, library)](config)
