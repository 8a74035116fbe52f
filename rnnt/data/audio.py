"""Writing of audio files."""

import io
from pathlib import Path

from rnnt.errors import UserError


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
