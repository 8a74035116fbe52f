"""Reading of the audio of cuts, and writing of audio files."""

import functools
import io
import warnings
from pathlib import Path

from rnnt.errors import UserError


def use_soundfile():
    """Let lhotse read with soundfile at once: its search for a back-end takes longer than reading a header."""
    from lhotse.audio import set_current_audio_backend

    set_current_audio_backend("LibsndfileBackend")


@functools.cache
def _set_up_lhotse(tolerance):
    """Let lhotse read at once with soundfile, and refuse audio more than `tolerance` seconds shorter than it should."""
    from lhotse.audio import set_audio_duration_mismatch_tolerance

    use_soundfile()
    with warnings.catch_warnings():
        # It warns of a small tolerance, but by default fills half a second of truncated files with mirrored audio.
        warnings.simplefilter("ignore", UserWarning)
        set_audio_duration_mismatch_tolerance(tolerance)


def read_samples(cut, config):
    """The samples of a lhotse cut, (num_samples,) float32, resampled as its recording says.

    config: `FeatureConfig`. Raises an exception of one of many kinds, which says what is wrong with the audio.
    """
    _set_up_lhotse(config.frame_shift)
    samples = cut.load_audio()
    if samples.shape[0] != 1:
        raise ValueError(f"{samples.shape[0]} channels, expected one")
    if samples.shape[1] < config.sampling_rate * config.frame_shift:
        raise ValueError(f"only {samples.shape[1]} samples, less than a frame shift")
    return samples[0]


def source_of(cut):
    """Where the features of a cut come from: the path of its archive or its audio."""
    return cut.features.storage_path if cut.has_features else cut.recording.sources[0].source


def problem_of(error):
    """One line that says what went wrong; lhotse and its back-ends raise many kinds."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def unreadable(manifest, cut, error):
    """The `UserError` about a cut of a manifest (its path) whose features or audio can't be read."""
    remedy = "run stage 3 again" if cut.has_features else "mend the file or run prepare.sh again from stage 3"
    return UserError(f"{manifest}: cut {cut.id}: can't read {source_of(cut)} ({problem_of(error)}); {remedy}")


def write_audio(path, samples, sampling_rate):
    """Write samples (num_samples,) in [-1, 1] with 16 bits; the suffix of `path` (.wav, .flac) is the format.

    Raises `UserError` when the file can't be written.
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
