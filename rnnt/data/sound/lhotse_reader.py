"""lhotse's reading and resampling of audio, done by ours: what lhotse opens passes the checks of `AudioFile`."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from lhotse.audio import set_audio_duration_mismatch_tolerance, set_current_audio_backend
from lhotse.audio.backend import AudioBackend, LibsndfileCompatibleAudioInfo
from lhotse.augmentation import Resample, Speed
from lhotse.utils import compute_num_samples

from rnnt.data.sound.audio_file import AudioFile
from rnnt.data.sound.resampling import resample


class CheckedBackend(AudioBackend):
    """Reads with `AudioFile`; for `lhotse.audio.set_current_audio_backend`."""

    def read_audio(
        self,
        path_or_fd: Any,
        offset: float = 0.0,
        duration: float | None = None,
        force_opus_sampling_rate: int | None = None,
    ) -> tuple[np.ndarray, int]:
        """`(samples (channels, N) float32, samples per second)`; times in seconds, `duration` None: to the end."""
        with AudioFile(path_or_fd) as file:
            if offset > 0:
                file.seek(compute_num_samples(offset, file.sampling_rate))
            if duration is None:
                samples_NC = np.concatenate([*file.blocks(), np.zeros((0, file.num_channels), np.float32)])
            else:
                samples_NC = file.read(compute_num_samples(duration, file.sampling_rate))
            return np.ascontiguousarray(samples_NC.T), file.sampling_rate

    def info(self, path_or_fd: Any, force_opus_sampling_rate: int | None = None) -> LibsndfileCompatibleAudioInfo:
        """What `Recording.from_file` asks."""
        with AudioFile(path_or_fd) as file:
            return LibsndfileCompatibleAudioInfo(file.num_channels, file.num_samples, file.sampling_rate, file.seconds)

    def supports_info(self) -> bool:
        return True


def _resample(self: Resample, samples: np.ndarray, *args: Any, **keywords: Any) -> np.ndarray:
    """lhotse's transform with bounded memory, whether torchaudio is installed or not."""
    return resample(samples, self.source_sampling_rate, self.target_sampling_rate)


def _speed(self: Speed, samples: np.ndarray, sampling_rate: int) -> np.ndarray:
    """As `_resample`."""
    return resample(samples, round(sampling_rate * self.factor), sampling_rate)


def install() -> None:
    """Let lhotse read audio with `AudioFile` and resample with `resample`, in this process."""
    set_current_audio_backend(CheckedBackend())
    # In its own classes, as cuts may have been read before.
    Resample.__call__ = _resample  # type: ignore[method-assign]
    Speed.__call__ = _speed  # type: ignore[method-assign]


def set_tolerance(seconds: float) -> None:
    """Let lhotse refuse audio that is more than `seconds` shorter than a cut."""
    with warnings.catch_warnings():
        # It warns of a small tolerance, but by default fills half a second with mirrored audio.
        warnings.simplefilter("ignore", UserWarning)
        set_audio_duration_mismatch_tolerance(seconds)
