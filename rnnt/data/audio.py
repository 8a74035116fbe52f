"""Reading the audio of cuts, and writing audio files."""

from __future__ import annotations

import functools
import io
from pathlib import Path
from typing import TYPE_CHECKING

from rnnt.data.sound import AudioError
from rnnt.errors import UserError, one_line

if TYPE_CHECKING:
    import numpy as np
    from lhotse.cut import Cut

    from rnnt.data.config import FeatureConfig


def set_up_lhotse() -> None:
    """Let lhotse open, read and resample audio as everything else here does: see `rnnt.data.sound`."""
    from rnnt.data.sound.lhotse_reader import install

    install()


@functools.cache
def _set_up_lhotse(tolerance: float) -> None:
    """The same, and let it refuse audio more than `tolerance` seconds shorter than it should be."""
    from rnnt.data.sound.lhotse_reader import set_tolerance

    set_up_lhotse()
    set_tolerance(tolerance)


def read_samples(cut: Cut, config: FeatureConfig) -> np.ndarray:
    """The samples of a lhotse cut, (num_samples,) float32, resampled as its recording says.

    Raises:
        AudioError: what is wrong with the audio.
    """
    from rnnt.data.sound.audio_file import check_samples

    _set_up_lhotse(config.frame_shift)
    try:
        samples = cut.load_audio()
    except Exception as error:  # lhotse raises many kinds, and tells the recording's manifest behind the first line
        raise AudioError(str(error).partition("\n")[0] or type(error).__name__) from error
    if samples.shape[0] != 1:
        raise AudioError(f"{samples.shape[0]} channels, expected one")
    if samples.shape[1] < config.sampling_rate * config.frame_shift:
        raise AudioError(f"only {samples.shape[1]} samples, less than a frame shift")
    check_samples(samples)
    return samples[0]


def source_of(cut: Cut) -> str:
    """Where the features of a cut come from: the path of its archive or its audio."""
    if cut.has_features:
        return cut.features.storage_path
    source = cut.recording.sources[0]
    return "its audio" if source.type == "memory" else source.source


def files_of(cut: Cut) -> list[str]:
    """The audio files of a cut; none where it has only features."""
    parts = [track.cut for track in cut.tracks] if hasattr(cut, "tracks") else [cut]
    recordings = [getattr(part, "recording", None) for part in parts]  # padding has none
    return [str(source.source) for r in recordings if r for source in r.sources if source.type == "file"]


def unreadable(manifest: str | Path, cut: Cut, error: Exception) -> UserError:
    """The `UserError` about a cut of a manifest (its path) whose features or audio can't be read."""
    remedy = "run stage 3 again" if cut.has_features else "fix the file or run prepare.sh again from stage 3"
    return UserError(f"{manifest}: cut {cut.id}: can't read {source_of(cut)} ({one_line(error)}); {remedy}")


def write_audio(path: str | Path, samples: np.ndarray, sampling_rate: int) -> None:
    """Write samples (num_samples,) in [-1, 1] with 16 bits; the suffix of `path` (.wav, .flac) is the format.

    Raises:
        UserError: when the file can't be written.
    """
    import soundfile

    path = Path(path)
    # Through memory: soundfile waits for the disk at the end of each file, which is slow for thousands of small ones.
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, sampling_rate, format=path.suffix[1:].upper(), subtype="PCM_16")
    try:
        path.write_bytes(buffer.getbuffer())
    except OSError as error:
        raise UserError(f"{path}: can't write it: {error.strerror or error}") from error
