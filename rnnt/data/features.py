"""The front-end as an object: samples in, log-mel filter banks out.

Kaldi's filter banks are computed by kaldifeat where it is installed, by lhotse's `Fbank` elsewhere. Both follow
Kaldi's `compute-fbank-feats` on samples in [-1, 1] and agree within 1e-4, so that models and features may be exchanged
between machines. The other front-end is in `slaney_log_mel.py`.
"""

import numpy as np
import torch

from rnnt.data.audio import problem_of
from rnnt.data.feature_library import resolve_library
from rnnt.data.slaney_log_mel import SlaneyLogMel
from rnnt.errors import UserError


class KaldifeatFbank:
    """Log-mel filter banks by kaldifeat. `name` says so in features.json."""

    name = "kaldifeat"

    def __init__(self, config, device="cpu"):
        import kaldifeat

        self.dither, self._device = config.dither, torch.device(device)
        options = kaldifeat.FbankOptions()
        options.device = self._device
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
        return self._fbank(_as_tensor(samples).to(self._device)).cpu().numpy()


class LhotseFbank:
    """Log-mel filter banks by lhotse's `Fbank`."""

    name = "lhotse"

    def __init__(self, config, device="cpu"):
        from lhotse.features.kaldi.extractors import Fbank, FbankConfig

        self.dither, self._device = config.dither, torch.device(device)
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
                device=device,
            )
        )

    @torch.no_grad()
    def extract(self, samples):
        """(num_samples,) float32 in [-1, 1], numpy or torch -> (T, F) float32 numpy."""
        return self._fbank.extract(_as_tensor(samples).to(self._device), self._sampling_rate).cpu().numpy()


def _as_tensor(samples):
    if not isinstance(samples, torch.Tensor):
        samples = torch.from_numpy(np.ascontiguousarray(samples))
    if samples.ndim != 1:
        raise ValueError(f"expected samples of one channel, (num_samples,), got shape {tuple(samples.shape)}")
    return samples.to(torch.float32)


EXTRACTORS = {extractor.name: extractor for extractor in (KaldifeatFbank, LhotseFbank, SlaneyLogMel)}


def make_extractor(config, library="auto", device="cpu"):
    """The extractor of a `FeatureConfig`: an object with `.extract(samples) -> (T, F)`, `.dither` and `.name`.

    `library` is `auto` (kaldifeat where it imports, else lhotse), `kaldifeat` or `lhotse`; `device` is where Kaldi's
    filter banks are computed. With `snip_edges` false, T is the number of samples divided by the frame shift, rounded.
    Raises `UserError` when the library that was asked for is not installed or the configuration makes no valid filters.
    """
    extractor = EXTRACTORS[resolve_library(config, library)]
    return extractor(config) if extractor is SlaneyLogMel else extractor(config, device)


def resolve_device(device, library, config):
    """Where the `library` computes the features of a `FeatureConfig`: "cpu" or "cuda", which `device` may ask for.

    `auto` is a GPU that works, with kaldifeat. Raises `UserError` where `cuda` was asked for and can't be had.
    """
    if device == "cpu" or (device == "auto" and library != "kaldifeat"):
        return "cpu"
    if library == SlaneyLogMel.name:
        problem = f"{config.frontend} is computed on the CPU"
    elif config.dither:
        problem = "dither is drawn on the CPU"
    else:
        problem = _problem_of_cuda()
    if problem and device == "cuda":
        raise UserError(f"--device cuda: {problem}; give --device cpu")
    return "cpu" if problem else "cuda"


def _problem_of_cuda():
    """Why no GPU can be used, or None."""
    try:
        torch.zeros(1, device="cuda")
    except (RuntimeError, AssertionError) as error:  # no driver, a GPU of other users, a torch without CUDA
        return problem_of(error)
    return None
