"""Synthetic digits, spoken by espeak-ng, for machines that can't reach the real recordings.

The library and its voices come in the wheel `espeakng-loader`, which is installed when it is needed. Every voice
speaks each digit 50 times, with another speed, pitch, intonation and loudness each time, drawn from a fixed seed.
"""

import contextlib
import ctypes
import importlib
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rnnt.data.audio import write_audio
from rnnt.errors import UserError
from rnnt.files import atomic_folder
from rnnt.progress import progress

REQUIREMENT = "espeakng-loader==0.2.4"
INSTALL_SECONDS = 120
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
RECORDINGS_PER_DIGIT = 50
SAMPLING_RATE = 8000
SILENCE_DB = -40  # below the peak; what is softer at both ends is cut off, as in the real recordings

# speaker: espeak-ng's name of accent and variant
VOICES = {
    "us-m1": "en-us+m1",
    "us-m3": "en-us+m3",
    "us-f1": "en-us+f1",
    "us-f2": "en-us+f2",
    "gb-m2": "en+m2",
    "gb-m7": "en+m7",
    "gb-f3": "en+f3",
    "rp-m4": "en-gb-x-rp+m4",
    "rp-f4": "en-gb-x-rp+f4",
    "scotland-m5": "en-gb-scotland+m5",
    "scotland-f5": "en-gb-scotland+f5",
    "midlands-m8": "en-gb-x-gbcwmd+m8",
    "us-m6": "en-us+m6",
    "rp-belinda": "en-gb-x-rp+belinda",
}
HELD_OUT = ("us-m6", "rp-belinda")

# Values of espeak-ng's speak_lib.h.
_SYNCHRONOUS, _CHARS_UTF8, _POS_CHARACTER, _OK = 2, 1, 1, 0
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Espeak:
    """The espeak-ng library. One at a time: its state is global."""

    def __init__(self, library_path: str, data_path: str) -> None:
        self._samples: list[bytes] = []
        self._callback = _CALLBACK(self._collect)  # kept here, or it would be freed while the library holds it
        self._library = ctypes.CDLL(library_path)
        self._library.espeak_SetSynthCallback.argtypes = [_CALLBACK]
        self.sampling_rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, data_path.encode(), 0)
        if self.sampling_rate <= 0:
            raise UserError(f"{library_path}: espeak-ng finds no voices in {data_path}; install {REQUIREMENT} again")
        self._library.espeak_SetSynthCallback(self._callback)
        self._library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
        self._library.espeak_ng_SetRandSeed(0)  # of the breath in the voices; else it is the time

    def _collect(self, samples: Any, count: int, _events: Any) -> int:
        if samples and count:
            self._samples.append(ctypes.string_at(samples, 2 * count))
        return 0

    def set_voice(self, name: str) -> None:
        if self._library.espeak_SetVoiceByName(name.encode()) != _OK:
            raise UserError(f"espeak-ng has no voice {name}; install {REQUIREMENT}")

    def speak(self, text: str, rate: int, pitch: int, pitch_range: int, volume: int) -> bytes:
        """16-bit samples, bytes. `rate` in words per minute; `pitch`, `pitch_range`, `volume` from 0 to 100."""
        for parameter, value in ((_RATE, rate), (_PITCH, pitch), (_RANGE, pitch_range), (_VOLUME, volume)):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._samples.clear()
        data = text.encode()
        self._library.espeak_Synth(data, len(data) + 1, 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None)
        self._library.espeak_Synchronize()
        return b"".join(self._samples)

    def close(self) -> None:
        self._library.espeak_Terminate()


def load_loader() -> Any:
    """The module `espeakng_loader`, installed if need be. Raises `UserError` when it can't be."""
    with contextlib.suppress(ImportError):
        return importlib.import_module("espeakng_loader")
    command = [sys.executable, "-m", "pip", "install", "--quiet", REQUIREMENT]
    print(f"installing {REQUIREMENT}")
    try:
        subprocess.run(command, check=True, timeout=INSTALL_SECONDS, stdout=sys.stderr)
        importlib.invalidate_caches()
        return importlib.import_module("espeakng_loader")
    except (subprocess.SubprocessError, OSError, ImportError):
        raise UserError(
            f"no corpus: no --dl-dir, no download, and `{' '.join(command)}` failed; put the dataset into "
            "DIR/fsdd/recordings and give --dl-dir DIR"
        ) from None


@contextlib.contextmanager
def espeak() -> Iterator[Espeak]:
    """An `Espeak`, with its data under a short path: espeak-ng cuts paths off after 160 characters."""
    loader = load_loader()
    with tempfile.TemporaryDirectory(prefix="espeak-") as folder:
        data_path = Path(folder) / "espeak-ng-data"
        data_path.symlink_to(loader.get_data_path())
        engine = Espeak(loader.get_library_path(), str(data_path))
        try:
            yield engine
        finally:
            engine.close()


def speak_corpus(
    folder: str | Path, voices: Mapping[str, str] = VOICES, per_digit: int = RECORDINGS_PER_DIGIT
) -> str | Path:
    """Write `<digit>_<speaker>_<index>.wav`, `per_digit` of each digit and voice; returns the folder."""
    import torch

    torch.set_num_threads(1)  # resampling so little is 70 times slower with two
    with espeak() as engine, atomic_folder(folder) as temporary:
        for speaker, voice in progress(voices.items(), total=len(voices), what="speaking", unit="voice"):
            engine.set_voice(voice)
            rng = random.Random(speaker)
            for digit, word in enumerate(WORDS):
                for index in range(per_digit):
                    speech = engine.speak(word, **draw_style(rng))
                    samples = to_recording(speech, engine.sampling_rate)
                    write_audio(temporary / f"{digit}_{speaker}_{index}.wav", samples, SAMPLING_RATE)
    return folder


def draw_style(rng: random.Random) -> dict[str, int]:
    """Random arguments of `Espeak.speak`."""
    return {
        "rate": rng.randint(120, 240),
        "pitch": rng.randint(30, 70),
        "pitch_range": rng.randint(20, 80),
        "volume": rng.randint(30, 100),
    }


def to_recording(speech: bytes, sampling_rate: int) -> Any:
    """Bytes of 16-bit samples -> (num_samples,) float32 at 8 kHz without the silence at both ends."""
    import numpy as np
    from lhotse.augmentation import Resample

    samples = np.frombuffer(speech, dtype=np.int16).astype(np.float32) / 2**15
    samples = Resample(sampling_rate, SAMPLING_RATE)(samples[None], sampling_rate)[0]
    loud = np.flatnonzero(np.abs(samples) > np.abs(samples).max() * 10 ** (SILENCE_DB / 20))
    return samples[loud[0] : loud[-1] + 1]
