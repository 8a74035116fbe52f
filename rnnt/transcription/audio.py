"""Audio of any format, rate and length, read in overlapping blocks. Truncated files are refused."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from rnnt.data.sound import AudioError
from rnnt.data.sound.audio_file import AudioFile, check_samples
from rnnt.errors import UserError, printable


class Audio:
    """One file or array.

    Attributes:
        name: of the file or array, in results and errors.
        sampling_rate: in Hz.
        num_channels: number of channels.
        num_samples: number of samples per channel.
    """

    def __init__(self, name: str, sampling_rate: int, num_channels: int, num_samples: int) -> None:
        self.name, self.sampling_rate = name, sampling_rate
        self.num_channels, self.num_samples = num_channels, num_samples
        if num_samples < 1:
            raise UserError(f"{name}: there is no audio in it")

    def __str__(self) -> str:
        return self.name

    @property
    def seconds(self) -> float:
        """The length."""
        return self.num_samples / self.sampling_rate

    def blocks(self, length: int, hop: int) -> Iterator[np.ndarray]:
        """Yield float32 samples (channels, up to `length`), starting at 0, `hop`, 2 `hop`, ... to the end.

        Raises:
            UserError: when the audio can't be read to its end.
        """
        kept_NC = np.zeros((0, self.num_channels), np.float32)
        for new_NC in self._read_new(length, hop):
            try:
                check_samples(new_NC)
            except AudioError as error:
                raise UserError(f"{self.name}: {error}") from None
            block_NC = np.concatenate([kept_NC, new_NC])
            yield np.ascontiguousarray(block_NC.T)
            kept_NC = block_NC[hop:]

    def _read_new(self, length: int, hop: int) -> Iterator[np.ndarray]:
        """Yield the samples (N, channels) that each block adds to the one before."""
        raise NotImplementedError

    def _new_spans(self, length: int, hop: int) -> Iterator[tuple[int, int]]:
        """`(position, number of samples)` of what each block adds to the one before."""
        position, size = 0, length
        while position < self.num_samples:
            count = min(size, self.num_samples - position)
            yield position, count
            position, size = position + count, hop


class ArrayAudio(Audio):
    """Samples in memory: (num_samples,) or (channels, num_samples), floats in [-1, 1] or signed integers."""

    def __init__(self, samples: Any, sampling_rate: int | None, name: str = "array") -> None:
        if not sampling_rate:
            raise UserError(f"{name}: give the sampling rate of arrays: transcribe(samples, sampling_rate=16000)")
        samples = np.asarray(samples)
        if np.issubdtype(samples.dtype, np.signedinteger):
            samples = samples / -float(np.iinfo(samples.dtype).min)
        elif not np.issubdtype(samples.dtype, np.floating):
            raise UserError(f"{name}: samples of type {samples.dtype}; expected floats or signed integers")
        if samples.ndim not in (1, 2) or samples.ndim == 2 and samples.shape[0] > samples.shape[1]:
            raise UserError(
                f"{name}: samples of shape {samples.shape}; expected (num_samples,) or (channels, num_samples)"
            )
        self._samples_CN = np.atleast_2d(samples)
        num_channels, num_samples = self._samples_CN.shape
        super().__init__(name, int(sampling_rate), num_channels, num_samples)

    def _read_new(self, length: int, hop: int) -> Iterator[np.ndarray]:
        for position, count in self._new_spans(length, hop):
            yield self._samples_CN[:, position : position + count].T.astype(np.float32)


class FileAudio(Audio):
    """An audio file. Opening it checks that it is whole, and reads little of it: see `rnnt.data.sound.audio_file`."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        name = printable(path)
        if name != str(path):
            raise UserError(f"{name}: the name is not UTF-8, and results could not name the file; rename it")
        if self.path.is_dir():
            raise UserError(f"{path}: a folder; give the files in it, or the folder to transcribe.py")
        if not self.path.is_file():
            raise UserError(f"{path}: no such file")
        self._open_as(name)

    def _open_as(self, name: str) -> None:
        self.name = name
        try:
            with AudioFile(self._source()) as file:
                super().__init__(name, file.sampling_rate, file.num_channels, file.num_samples)
        except AudioError as error:
            raise UserError(f"{name}: {error}") from None

    def _source(self) -> Path | BinaryIO:
        return self.path

    def _read_new(self, length: int, hop: int) -> Iterator[np.ndarray]:
        try:
            with AudioFile(self._source()) as file:
                for _, count in self._new_spans(length, hop):
                    new_NC = file.read(count)
                    if len(new_NC) < count:
                        raise file.ended_early()
                    yield new_NC
        except AudioError as error:
            raise UserError(f"{self.name}: {error}") from None


class MemoryAudio(FileAudio):
    """The bytes of an audio file of any format."""

    def __init__(self, data: bytes, name: str) -> None:
        self.data = data
        self._open_as(name)

    def _source(self) -> BinaryIO:
        file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115  (its reader closes it; audio is read from descriptors)
        file.write(self.data)
        return file


def open_audio(item: Any, sampling_rate: int | None = None, number: int = 0) -> Audio:
    """Open a path, the content of a file, or an array.

    Args:
        item: the path; bytes or a file open for reading, in any audio format; or an array as `ArrayAudio` takes it.
        sampling_rate: of arrays, in Hz; files name their own.
        number: names arrays in errors.
    """
    if isinstance(item, (str, PathLike)):
        return FileAudio(item)
    if hasattr(item, "read"):
        name = getattr(item, "name", None)
        return MemoryAudio(item.read(), name if isinstance(name, str) else f"file {number}")
    if isinstance(item, (bytes, bytearray, memoryview)):
        return MemoryAudio(bytes(item), f"bytes {number}")
    if isinstance(item, (int, float)):
        raise UserError(f"array {number}: a single number; give all samples as one array: numpy.asarray(samples)")
    return ArrayAudio(item, sampling_rate, f"array {number}")
