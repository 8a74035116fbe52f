"""Features of audio that comes in pieces: those of the whole, whatever the sizes of the pieces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rnnt.data.sound.resampling import reach, resample
from rnnt.errors import UserError

if TYPE_CHECKING:
    from rnnt.data.config import FeatureConfig
    from rnnt.data.fbank import Extractor

BLOCK = 1024  # frames that are computed at once: of more the processor's cache does not hold what lies between


class ResampleStream:
    """`rnnt.data.sound.resampling.resample`, piece by piece.

    Args:
        rate: of the samples that come, in Hz.
        wanted: of those that go.
    """

    def __init__(self, rate: int, wanted: int) -> None:
        divisor = math.gcd(rate, wanted)
        # Phases repeat after so many samples: where the buffer begins must be a multiple.
        self._in, self._out = rate // divisor, wanted // divisor
        self.rate, self.wanted = rate, wanted
        self._reach = reach(rate, wanted)
        self._start, self._samples = 0, np.zeros(0, np.float32)
        self._done = 0

    def accept(self, samples: np.ndarray, is_last: bool = False) -> np.ndarray:
        """The samples that can now be computed; with `is_last` all that are missing."""
        if self.rate == self.wanted:
            return samples
        self._samples = np.concatenate([self._samples, samples])
        total = self._start + len(self._samples)
        ready = max(0, total - self._reach) * self.wanted // self.rate
        if is_last:
            ready = -(-total * self.wanted // self.rate)
        elif ready - self._done < self.wanted // 50:
            return samples[:0]  # a filter of its own for every few samples would take long
        if ready <= self._done:
            return samples[:0]
        first = self._start // self._in * self._out
        found = resample(self._samples, self.rate, self.wanted)[self._done - first : ready - first]
        self._done = ready
        keep = max(0, ready * self.rate // self.wanted - self._reach) // self._in * self._in
        self._samples, self._start = self._samples[keep - self._start :], keep
        return found


class FeatureStream:
    """The features of one channel, as its samples come.

    Args:
        config: the front-end.
        extractor: of that front-end.

    Raises:
        UserError: the front-end needs the whole utterance.
    """

    def __init__(self, config: FeatureConfig, extractor: Extractor) -> None:
        if config.is_normalized:
            raise UserError(
                f"{config.frontend} normalises each utterance as a whole, so it can't stream; train with kaldi_fbank"
            )
        self.config, self.extractor = config, extractor
        self._shift = int(config.sampling_rate * config.frame_shift)
        self._length = int(config.frame_length_ms / 1000 * config.sampling_rate)
        left = 0 if config.snip_edges else (self._length - self._shift) // 2
        # Frames whose samples reach into those of a neighbour.
        self.margin = -(-max(left, self._length - self._shift - left) // self._shift)
        self._resampler: ResampleStream | None = None
        self._start, self._pieces = 0, [np.zeros(0, np.float32)]
        self._total = 0  # samples that came
        self._is_ended = False
        self.taken = 0  # frames that were given away

    def put(self, samples: np.ndarray, sampling_rate: int | None = None) -> None:
        """Keep samples.

        Args:
            samples: (N,) float32 in [-1, 1], any number of them, which nobody changes any more.
            sampling_rate: in Hz; None: that of the front-end.

        Raises:
            UserError: the sampling rate is another one than before.
        """
        rate = sampling_rate or self.config.sampling_rate
        if self._resampler is None:
            self._resampler = ResampleStream(rate, self.config.sampling_rate)
        if rate != self._resampler.rate:
            raise UserError(f"a stream of {self._resampler.rate} samples/s can't go on with {rate}; begin another")
        self._keep(self._resampler.accept(samples))

    def end(self) -> None:
        """No more samples come."""
        if self._resampler and not self._is_ended:
            self._keep(self._resampler.accept(np.zeros(0, np.float32), is_last=True))
        self._is_ended = True

    def _keep(self, samples: np.ndarray) -> None:
        self._pieces.append(samples)
        self._total += len(samples)

    @property
    def frames(self) -> int:
        """Frames of the samples that came, those counted that were given away; after `end` all."""
        if not self._is_ended:
            return max(0, self._total - self._length) // self._shift
        if self.config.snip_edges:
            return max(0, self._total - self._length + self._shift) // self._shift
        return (self._total + self._shift // 2) // self._shift if self._total >= self._shift else 0

    def accept(self, samples: np.ndarray, sampling_rate: int | None = None) -> np.ndarray:
        """`put`, and the features (T, F) that can now be computed."""
        self.put(samples, sampling_rate)
        return take_features([(self, self.frames - self.taken)])[0]

    def finish(self) -> np.ndarray:
        """`end`, and the features (T, F) of what is left."""
        self.end()
        return take_features([(self, self.frames - self.taken)])[0]

    def samples_of(self, count: int) -> np.ndarray:
        """Samples of the next `count` frames and of `margin` frames on either side, mirrored at both ends."""
        samples = self._pieces[0] if len(self._pieces) == 1 else np.concatenate(self._pieces)
        begin = (self.taken - self.margin) * self._shift - self._start
        end = begin + (count + 2 * self.margin) * self._shift
        found = samples[max(begin, 0) : end]
        missing = max(-begin, 0), end - max(begin, 0) - len(found)
        self.taken += count
        done = max(0, (self.taken - self.margin) * self._shift - self._start)
        self._pieces, self._start = [samples[done:]], self._start + done
        return np.pad(found, missing, mode="symmetric") if any(missing) else found


def take_features(wanted: Sequence[tuple[FeatureStream, int]]) -> list[np.ndarray]:
    """The next features (T, F) of streams of one front-end, so many of each, and computed together.

    One call computes the frames of many streams, whose samples lie one behind the other: frames that reach over the
    end of a stream are left out. So a frame costs what it costs in a long file, whoever it belongs to.
    """
    found = [np.zeros((0, stream.config.num_mel_bins), np.float32) for stream, _ in wanted]
    block, frames = list[tuple[int, int]](), 0  # place among the wanted, number of frames

    def compute() -> None:
        samples = np.concatenate([wanted[i][0].samples_of(count) for i, count in block])
        x_TF = np.asarray(wanted[0][0].extractor.extract(samples), np.float32)
        begin = 0
        for i, count in block:
            begin += wanted[i][0].margin
            found[i] = x_TF[begin : begin + count]
            begin += count + wanted[i][0].margin

    for i, (_, count) in enumerate(wanted):
        if frames + count > BLOCK and block:
            compute()
            block, frames = [], 0
        if count:
            block.append((i, count))
            frames += count
    if block:
        compute()
    return found
