"""What a microphone far away and a telephone make of speech: reverberation, and a narrow band with few levels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from rnnt.data.sound import audio_files
from rnnt.data.sound.audio_file import AudioFile
from rnnt.data.sound.resampling import resample
from rnnt.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

# Of drawn rooms: seconds in which sound falls by 60 dB, and decibels of what comes straight over what is reflected.
T60 = 0.15, 0.8
DIRECT_TO_REVERBERANT = -3.0, 12.0
FIRST_REFLECTION = 0.002  # seconds behind the direct sound
LONGEST = 2.0  # seconds of a recorded impulse response that are used
TELEPHONE_RATE, TELEPHONE_BAND = 8000, (300.0, 3400.0)  # Hz
MU = 255.0


class Rooms:
    """Impulse responses of rooms: recorded ones, or drawn.

    A drawn one is an impulse and Gaussian noise that decays exponentially (Polack 1988), with a random time and share
    of the reverberation.

    Args:
        folder: of recordings of impulse responses, such as RIRS_NOISES; empty: rooms are drawn.

    Raises:
        UserError: when there is no audio in the folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self._paths = audio_files(folder) if folder else []

    def draw(self, rate: int, generator: np.random.Generator) -> np.ndarray:
        """An impulse response at `rate`, which begins with the direct sound.

        Raises:
            UserError: when a recording can't be read.
        """
        if not self._paths:
            return draw_room(rate, generator)
        path = self._paths[int(generator.integers(len(self._paths)))]
        try:
            with AudioFile(path) as file:
                samples_NC = file.read(round(LONGEST * file.sampling_rate))
                recorded = resample(np.ascontiguousarray(samples_NC[:, 0]), file.sampling_rate, rate)
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: {error}; take it out of the folder of --rir-dir") from error
        if not np.any(recorded):
            raise UserError(f"{path}: silence is no impulse response; take it out of the folder of --rir-dir")
        return recorded[int(np.argmax(np.abs(recorded))) :]


def draw_room(rate: int, generator: np.random.Generator) -> np.ndarray:
    """A random impulse response: an impulse, and noise that decays by 60 dB in a random time."""
    t60, ratio = generator.uniform(*T60), generator.uniform(*DIRECT_TO_REVERBERANT)
    time = np.arange(1, math.ceil(t60 * rate)) / rate
    tail = generator.standard_normal(len(time)) * np.exp(-3 * math.log(10) * time / t60)
    tail[time < FIRST_REFLECTION] = 0.0
    energy = np.sum(np.square(tail))
    if energy > 0:
        tail *= math.sqrt(10 ** (-ratio / 10) / energy)
    return np.concatenate([[1.0], tail]).astype(np.float32)


def reverberate(samples: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Samples (N,) as heard through an impulse response (M,): (N,), as loud as before, and in time."""
    length = len(samples) + len(response) - 1
    size = 1 << (length - 1).bit_length()
    heard = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)[: len(samples)]
    before, after = np.mean(np.square(samples, dtype=np.float64)), np.mean(np.square(heard))
    return (heard * math.sqrt(before / after)).astype(np.float32) if after > 0 else samples


def telephone(samples: np.ndarray, rate: int) -> np.ndarray:
    """Samples (N,) at `rate` after a telephone line: 300 to 3400 Hz at 8 kHz, in 255 levels of mu-law (ITU-T G.711)."""
    narrow = resample(samples, rate, TELEPHONE_RATE)
    spectrum = np.fft.rfft(narrow)
    frequency = np.fft.rfftfreq(len(narrow), 1 / TELEPHONE_RATE)
    spectrum[(frequency < TELEPHONE_BAND[0]) | (frequency > TELEPHONE_BAND[1])] = 0
    narrow = np.fft.irfft(spectrum, len(narrow))
    largest = np.max(np.abs(narrow), initial=0.0)
    if largest > 0:
        level = np.log1p(MU * np.abs(narrow) / largest) / math.log1p(MU)
        level = np.rint(level * 127) / 127
        narrow = np.sign(narrow) * np.expm1(level * math.log1p(MU)) / MU * largest
    wide = resample(narrow.astype(np.float32), TELEPHONE_RATE, rate)
    return np.pad(wide, (0, max(len(samples) - len(wide), 0)))[: len(samples)]
