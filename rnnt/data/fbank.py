"""The front-end as an object: samples in, log-mel filter banks out.

Kaldi's filter banks are computed by kaldifeat where it is installed, by lhotse's `Fbank` elsewhere. Both follow
Kaldi's `compute-fbank-feats` on samples in [-1, 1] and agree within 1e-4, so that models and features may be exchanged
between machines. The other front-end is in `slaney_log_mel.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from rnnt.data.feature_library import resolve_library
from rnnt.data.slaney_log_mel import SlaneyLogMel
from rnnt.errors import UserError, one_line

if TYPE_CHECKING:
    from rnnt.data.config import FeatureConfig


class Extractor(Protocol):
    """What every front-end has."""

    name: str  # of the library, as in features.json
    dither: float

    def extract(self, samples: np.ndarray | Tensor) -> np.ndarray:
        """(num_samples,) in [-1, 1] -> (T, F) float32."""


class KaldifeatFbank:
    """Log-mel filter banks by kaldifeat. `name` says so in features.json."""

    name = "kaldifeat"

    def __init__(self, config: FeatureConfig, device: str = "cpu") -> None:
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

    def extract(self, samples: np.ndarray | Tensor) -> np.ndarray:
        """(num_samples,) float32 in [-1, 1] -> (T, F) float32."""
        return self._fbank(_as_tensor(samples).to(self._device)).cpu().numpy()


class LhotseFbank:
    """Log-mel filter banks by lhotse's `Fbank`."""

    name = "lhotse"

    def __init__(self, config: FeatureConfig, device: str = "cpu") -> None:
        from lhotse.features.kaldi.extractors import Fbank, FbankConfig

        self.dither, self._device = config.dither, torch.device(device)
        self._sampling_rate = config.sampling_rate
        # Fewer samples can't be mirrored at the ends to fill a frame.
        milliseconds = (
            config.frame_length_ms if config.snip_edges else (config.frame_length_ms + config.frame_shift_ms) / 4
        )
        self._least = round(milliseconds * config.sampling_rate / 1000)
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
    def extract(self, samples: np.ndarray | Tensor) -> np.ndarray:
        """(num_samples,) float32 in [-1, 1] -> (T, F) float32; `UserError` where there is not enough for a frame."""
        tensor = _as_tensor(samples)
        if len(tensor) < self._least:
            raise UserError(f"{len(tensor)} samples of audio; a frame of features needs {self._least}")
        return self._fbank.extract(tensor.to(self._device), self._sampling_rate).cpu().numpy()


def _as_tensor(samples: np.ndarray | Tensor) -> Tensor:
    if not isinstance(samples, Tensor):
        samples = torch.from_numpy(np.ascontiguousarray(samples))
    if samples.ndim != 1:
        raise ValueError(f"expected samples of one channel, (num_samples,), got shape {tuple(samples.shape)}")
    return samples.to(torch.float32)


KALDI_FBANKS: dict[str, Callable[[FeatureConfig, str], Extractor]] = {
    KaldifeatFbank.name: KaldifeatFbank,
    LhotseFbank.name: LhotseFbank,
}


def make_extractor(config: FeatureConfig, library: str = "auto", device: str = "cpu") -> Extractor:
    """The `Extractor` of a front-end.

    With `snip_edges` false, T is the number of samples divided by the frame shift, rounded.

    Args:
        config: the front-end.
        library: `auto` (kaldifeat where it imports, else lhotse), `kaldifeat` or `lhotse`.
        device: where Kaldi's filter banks are computed.

    Raises:
        UserError: when the requested library is not installed or the configuration makes no valid filters.
    """
    library = resolve_library(config, library)
    return SlaneyLogMel(config) if library == SlaneyLogMel.name else KALDI_FBANKS[library](config, device)


def resolve_device(device: str, library: str, config: FeatureConfig) -> str:
    """Where the `library` computes the features: "cpu" or "cuda".

    Args:
        device: `cpu`, `cuda`, or `auto`: a GPU that works, with kaldifeat.
        library: what `resolve_library` returned.
        config: the front-end.

    Raises:
        UserError: when `cuda` was requested and can't be used.
    """
    if device == "cpu" or (device == "auto" and library != "kaldifeat"):
        return "cpu"
    if library == SlaneyLogMel.name:
        problem: str | None = f"{config.frontend} is computed on the CPU"
    elif config.dither:
        problem = "dither is drawn on the CPU"
    else:
        problem = _problem_of_cuda()
    if problem and device == "cuda":
        raise UserError(f"--device cuda: {problem}; give --device cpu")
    return "cpu" if problem else "cuda"


def _problem_of_cuda() -> str | None:
    """Why no GPU can be used, or None."""
    try:
        torch.zeros(1, device="cuda")
    except (RuntimeError, AssertionError) as error:  # no driver, a GPU of other users, a torch without CUDA
        return one_line(error)
    return None
