"""The one reader of audio files. Opening a file checks that all of its audio is there, and decodes next to nothing.

It reads the header and the last sample; for Ogg the headers of all pages; for MP3 without a good header the headers of
all frames. Only FLAC that does not say its length is decoded to its end to count.
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import cached_property
from os import PathLike
from types import TracebackType
from typing import BinaryIO, cast

import numpy as np
import soundfile

from rnnt.data.sound import AudioError
from rnnt.data.sound.containers import JOINED, TRUNCATED, check_container
from rnnt.data.sound.mpeg import open_mp3
from rnnt.data.sound.ogg import check_ogg

# The formats whose length is checked.
FORMATS = {"WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "NIST", "FLAC", "OGG", "MP3"}
SAMPLING_RATES = range(1000, 1_000_001)  # Hz
LOUDEST = 2.0**31  # the largest scale of samples: integers of 32 bits
UNKNOWN_LENGTH = 1 << 62  # libsndfile's number of samples is beyond it where a FLAC file does not say it
BLOCK = 1 << 18  # samples of all channels that are read at once
# Samples that are decoded before the one that is looked for: a frame of MP3 needs the bits of up to eleven before it.
PREROLL = {"MP3": 12 * 1152}


def check_samples(samples: np.ndarray) -> None:
    """Raise `AudioError` on samples that are not numbers, or beyond all scales."""
    # Comparisons with NaN are false.
    if samples.size and not max(samples.max(), -samples.min()) <= LOUDEST:
        bad = samples[~(np.abs(samples) <= LOUDEST)].flat[0]
        raise AudioError(f"a sample is {bad:g}, not a finite number of at most 2**31; convert it again")


class _SoundFile(soundfile.SoundFile):
    """A file that is read from one place on: `read` of others seeks after reading, which fails at unknown ends."""

    def seekable(self) -> bool:
        return False

    def can_seek(self) -> bool:
        return super().seekable()


class AudioFile:
    """An audio file that is open for reading.

    Args:
        source: its path, or a file that is open for reading; it is closed with this.

    Attributes:
        sampling_rate: in Hz.
        num_channels: number of channels.

    Raises:
        AudioError: when it is no audio, or not all of it.
    """

    def __init__(self, source: str | PathLike[str] | BinaryIO) -> None:
        self._raw, self._position = _open(source), 0
        try:
            self._file = self._open_sound()
            self.sampling_rate, self.num_channels = self._file.samplerate, self._file.channels
            self._block = max(1, BLOCK // self.num_channels)
            self._check()
        except OSError as error:
            self.close()
            raise AudioError(f"can't be read: {error.strerror or error}") from None
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> AudioFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if hasattr(self, "_file"):
            self._file.close()
        self._raw.close()

    def _open_sound(self) -> _SoundFile:
        size = self._raw.seek(0, os.SEEK_END)
        if not size:
            raise AudioError("the file is empty; get it again")
        self._raw.seek(0)
        magic, content = self._raw.read(4), None
        self._magic = magic
        if magic == b"OggS":
            check_ogg(self._raw, size)
        elif magic[:3] == b"ID3" or magic[:1] == b"\xff":
            content = open_mp3(self._raw, size)
        else:
            check_container(self._raw, magic, size)
        os.lseek(self._raw.fileno(), 0, os.SEEK_SET)
        try:
            # By its descriptor: a name may be of any bytes, and the format is seen from the content.
            return _SoundFile(os.dup(self._raw.fileno()) if content is None else content)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"not readable as audio ({error.error_string}); convert it, e.g. to FLAC") from None

    def _check(self) -> None:
        file = self._file
        if file.format not in FORMATS:
            raise AudioError(f"{file.format} files are not read, for they may be truncated unseen; convert it to FLAC")
        if self.sampling_rate not in SAMPLING_RATES:
            raise AudioError(f"{self.sampling_rate} samples/s by its header; mend the header or get it again")
        if file.format in ("OGG", "MP3") or not file.can_seek() or not 0 < file.frames < UNKNOWN_LENGTH:
            return
        try:
            file.seek(file.frames - 1)
            if not len(file.read(1)):
                raise AudioError(TRUNCATED)
            # The decoder has read the last frame, and at most 8192 bytes of what follows it.
            position = os.lseek(self._raw.fileno(), 0, os.SEEK_CUR)
            if self._magic == b"fLaC" and b"fLaC" in os.pread(self._raw.fileno(), 1 << 15, max(4, position - 8192)):
                raise AudioError(JOINED)
            file.seek(0)
        except soundfile.LibsndfileError:
            raise AudioError(TRUNCATED) from None

    @cached_property
    def num_samples(self) -> int:
        """The number of samples per channel; FLAC that does not say it is decoded to count them."""
        if self._file.frames < UNKNOWN_LENGTH:
            return self._file.frames
        start = self._position
        count = start + sum(map(len, self.blocks()))
        if count > start:
            self.seek(start)
        return count

    @property
    def seconds(self) -> float:
        """The length."""
        return self.num_samples / self.sampling_rate

    def seek(self, position: int) -> None:
        """Let the next `read` begin at the sample with this number; once only, before any `read`."""
        if self._file.can_seek():
            before = max(0, position - PREROLL.get(self._file.format, 0))
            try:
                self._position = self._file.seek(before)
            except soundfile.LibsndfileError as error:
                raise AudioError(f"truncated or damaged: no sample {position} ({error.error_string})") from None
        while self._position < position and len(self.read(min(self._block, position - self._position))):
            pass

    def read(self, count: int) -> np.ndarray:
        """The next `count` samples, (count, channels) float32; fewer at the end.

        Raises:
            AudioError: when they can't be decoded.
        """
        try:
            samples_NC = self._file.read(count, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"truncated or damaged ({error.error_string}); get it again") from None
        self._position += len(samples_NC)
        return samples_NC

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield what is left, in parts as `read` gives them.

        Raises:
            AudioError: when the end comes too early, or samples are no numbers.
        """
        while len(samples_NC := self.read(self._block)):
            check_samples(samples_NC)
            yield samples_NC
        if self._position < self._file.frames < UNKNOWN_LENGTH:
            raise self.ended_early()

    def ended_early(self) -> AudioError:
        """The error when there is nothing more to read and there should be."""
        claimed, found = self._file.frames / self.sampling_rate, self._position / self.sampling_rate
        length = f"{claimed:.2f} s by its header, readable up to {found:.2f} s"
        return AudioError(f"truncated or damaged: {length}; get it again")


def _open(source: str | PathLike[str] | BinaryIO) -> BinaryIO:
    if isinstance(source, (str, PathLike)):
        try:
            return open(source, "rb")
        except OSError as error:
            raise AudioError(f"can't be opened: {error.strerror}") from None
    if not isinstance(source, io.BytesIO):
        return source
    copy = tempfile.TemporaryFile()  # noqa: SIM115  (stays open; libsndfile needs a descriptor)
    shutil.copyfileobj(source, copy)
    return cast("BinaryIO", copy)
