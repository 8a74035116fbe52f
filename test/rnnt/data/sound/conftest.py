"""Files of audio in all forms that are read, and how they are read to the end."""

import numpy as np
import pytest
import soundfile

from rnnt.data.sound.audio_file import AudioFile

RATE = 8000
# Suffix: what `soundfile.write` needs to know.
FORMATS = {
    "wav": {"subtype": "PCM_16"},
    "gsm.wav": {"format": "WAV", "subtype": "GSM610"},
    "adpcm.wav": {"format": "WAV", "subtype": "MS_ADPCM"},
    "big.wav": {"format": "WAV", "subtype": "PCM_16", "endian": "BIG"},
    "rf64": {"format": "RF64", "subtype": "PCM_16"},
    "w64": {"format": "W64", "subtype": "PCM_16"},
    "aiff": {"format": "AIFF", "subtype": "PCM_24"},
    "au": {"format": "AU", "subtype": "PCM_16"},
    "caf": {"format": "CAF", "subtype": "PCM_16"},
    "sph": {"format": "NIST", "subtype": "PCM_16"},
    "flac": {"format": "FLAC", "subtype": "PCM_16"},
    "ogg": {"format": "OGG", "subtype": "VORBIS"},
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "mp3": {"format": "MP3", "bitrate_mode": "VARIABLE", "compression_level": 0.5},
}


@pytest.fixture(params=FORMATS)
def suffix(request):
    """Each of the forms."""
    return request.param


@pytest.fixture
def speech():
    """Two seconds, (16000,), that a codec of speech can hold: a tone whose loudness and pitch change."""
    time = np.arange(2 * RATE) / RATE
    return (0.3 * np.sin(2 * np.pi * (300 + 40 * time) * time) * (1.2 + np.sin(2 * np.pi * 3 * time))).astype(
        np.float32
    )


@pytest.fixture
def write(tmp_path):
    """`write(name, samples)` makes a file in the form of its suffix and returns its path."""

    def write_file(name, samples, rate=RATE):
        path = tmp_path / name
        form = name.split(".", 1)[1]
        with open(path, "wb") as file:
            soundfile.write(file, samples, rate, **{"format": form.upper(), **FORMATS[form]})
        return path

    return write_file


@pytest.fixture
def read():
    """`read(path)` is all of a file: (N, channels)."""

    def read_file(path):
        with AudioFile(path) as file:
            blocks = list(file.blocks())
            samples = np.concatenate(blocks) if blocks else np.zeros((0, file.num_channels))
            assert len(samples) == file.num_samples
            return samples

    return read_file
