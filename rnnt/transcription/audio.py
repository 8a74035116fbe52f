"""Audio of any format, rate and length, read in overlapping blocks. Truncated files are refused."""

import re
from pathlib import Path

import numpy as np

from rnnt.errors import UserError

OGG_LAST_PAGE = 4  # bit of a page's flags (RFC 3533, section 6)


class Audio:
    """One file or array.

    Attributes: `name`, `sampling_rate`, `num_channels`, `num_samples` (a channel), `seconds`.
    """

    def __init__(self, name, sampling_rate, num_channels, num_samples):
        self.name, self.sampling_rate = name, sampling_rate
        self.num_channels, self.num_samples = num_channels, num_samples
        if num_samples < 1:
            raise UserError(f"{name}: there is no audio in it")

    @property
    def seconds(self):
        return self.num_samples / self.sampling_rate

    def blocks(self, length, hop):
        """Yield float32 samples (channels, up to `length`), starting at 0, `hop`, 2 `hop`, ... to the end.

        Raises `UserError` when the audio can't be read up to its end.
        """
        kept_NC = np.zeros((0, self.num_channels), np.float32)
        position = 0
        for new_NC in self._read_in_turn(length, hop):
            position += len(new_NC)
            if not np.isfinite(new_NC).all():
                raise UserError(f"{self.name}: has samples that are not finite numbers; convert it again")
            block_NC = np.concatenate([kept_NC, new_NC])
            yield np.ascontiguousarray(block_NC.T)
            kept_NC = block_NC[hop:]

    def _read_in_turn(self, length, hop):
        raise NotImplementedError

    def _parts(self, length, hop):
        """`(position, number of samples)` of what the blocks add to each other."""
        position, size = 0, length
        while position < self.num_samples:
            count = min(size, self.num_samples - position)
            yield position, count
            position, size = position + count, hop


class ArrayAudio(Audio):
    """Samples in memory: (num_samples,) or (channels, num_samples), floats in [-1, 1] or signed integers."""

    def __init__(self, samples, sampling_rate, name="array"):
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
        super().__init__(name, int(sampling_rate), *self._samples_CN.shape)

    def _read_in_turn(self, length, hop):
        for position, count in self._parts(length, hop):
            yield self._samples_CN[:, position : position + count].T.astype(np.float32)


class FileAudio(Audio):
    """A file in any format that soundfile reads. Opening it reads no more than the header and the last page."""

    def __init__(self, path):
        self.path = Path(path)
        if not self.path.is_file():
            raise UserError(f"{path}: no such file")
        with self._open() as file:
            self._check_length(file)
            super().__init__(str(path), file.samplerate, file.channels, file.frames)

    def _open(self):
        import soundfile

        try:
            return soundfile.SoundFile(self.path)
        except (soundfile.LibsndfileError, OSError) as error:
            reason = getattr(error, "error_string", None) or str(error) or "unknown format"
            raise UserError(f"{self.path}: not readable as audio ({reason}); convert it, e.g. to FLAC") from None

    def _check_length(self, file):
        if file.format == "OGG":
            whole = _ogg_is_whole(self.path)
        else:
            whole = not _promises_more(file.extra_info, self.path.stat().st_size)
        if not whole:
            raise UserError(f"{self.path}: truncated: the file ends before the audio does; get it again")

    def _read_in_turn(self, length, hop):
        import soundfile

        with self._open() as file:
            for position, count in self._parts(length, hop):
                try:
                    new_NC = file.read(count, dtype="float32", always_2d=True)
                except soundfile.LibsndfileError:
                    new_NC = np.zeros((0, self.num_channels), np.float32)
                if len(new_NC) < count:
                    raise UserError(
                        f"{self.path}: truncated or damaged: {self.seconds:.2f} s by its header, readable up to about "
                        f"{(position + len(new_NC)) / self.sampling_rate:.2f} s; get it again"
                    )
                yield new_NC


def _promises_more(log, file_size):
    """Whether libsndfile's log of the header names more bytes of samples than the file has.

    libsndfile itself shortens such audio without an error. Sizes of 2 GB and more less one block are what programs
    write that do not know the length beforehand.
    """
    for match in re.finditer(r"^\s*(?:data|SSND|Data Size)\s*: (\d+)(?: \(should be (\d+)\))?", log, re.MULTILINE):
        promised = int(match[1])
        there = int(match[2]) if match[2] else file_size
        if there < promised < 0x7FFF0000:
            return True
    return False


def _ogg_is_whole(path):
    """Whether the file ends with a whole page that is flagged as the last of its stream."""
    with open(path, "rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 2 * 65307))  # 65307 is the largest page
        tail = file.read()
    start = tail.rfind(b"OggS")
    page = tail[start:]
    if start < 0 or len(page) < 27 + page[26]:
        return False
    return bool(page[5] & OGG_LAST_PAGE) and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])


def open_audio(item, sampling_rate=None, number=0):
    """The `Audio` of a path or of an array, whose rate is `sampling_rate`; `number` names arrays in errors."""
    if isinstance(item, (str, Path)):
        return FileAudio(item)
    return ArrayAudio(item, sampling_rate, f"array {number}")


def resample(samples_CN, rate, wanted):
    """Samples (C, N) of `rate` -> samples (C, N') of `wanted`, by lhotse's windowed-sinc filter, as in training."""
    if rate == wanted:
        return samples_CN
    import torch
    from lhotse.augmentation import get_or_create_resampler

    return get_or_create_resampler(rate, wanted)(torch.from_numpy(samples_CN)).numpy()
