"""What every recogniser does, whatever computes its network: audio in chunks, batches, hypotheses joined. No torch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnt.data.sound.resampling import resample
from rnnt.errors import UserError
from rnnt.options import make, to_dict
from rnnt.search.config import METHODS, SearchConfig
from rnnt.search.result import words
from rnnt.text.tokenizer import WORD_START
from rnnt.transcription.audio import Audio, open_audio
from rnnt.transcription.config import ChunkConfig
from rnnt.transcription.joining import ChunkHypothesis, join
from rnnt.transcription.result import Alternative, Channel, Transcript

if TYPE_CHECKING:
    from rnnt.data.config import FeatureConfig
    from rnnt.search.config import FusionConfig
    from rnnt.search.fusion import Scorer
    from rnnt.search.result import Hypothesis
    from rnnt.text.tokenizer import Tokenizer

JOIN_TOLERANCE = 0.4  # seconds between the times of one token in two chunks


@dataclass
class _Job:
    """An input being transcribed: `hypotheses[channel]` grows until all is read and nothing is pending."""

    audio: Audio | None = None
    hypotheses: list[list[ChunkHypothesis]] = field(default_factory=list)
    pending: int = 0  # chunks read but not searched yet
    read: bool = False
    error: UserError | None = None

    @property
    def is_done(self) -> bool:
        return self.error is not None or (self.read and not self.pending)


@dataclass(frozen=True)
class _Chunk:
    """A chunk of one channel, whose features begin on encoder frame `start` of the audio."""

    job: _Job
    channel: int
    start: int
    x_TF: np.ndarray


def _padded_frames(chunks: list[_Chunk]) -> int:
    """Frames of a batch of chunks, padding counted."""
    return len(chunks) * max(len(chunk.x_TF) for chunk in chunks)


class BaseRecognizer:
    """A front-end, a network and a tokenizer. A subclass sets the attributes and says how a batch is searched.

    Attributes:
        model: what searches ask for: `heads` and `joiner`.
        features: the front-end.
        tokenizer: turns tokens into text.
        seconds_per_frame: seconds per encoder frame.
    """

    model: Any
    features: FeatureConfig
    tokenizer: Tokenizer
    seconds_per_frame: float
    _extractor: Any  # extract(samples (N,)) -> (T, F)

    def default_search(self) -> SearchConfig:
        """The search where none is chosen."""
        raise NotImplementedError

    def check_search(self, search: SearchConfig, where: object = "this model") -> None:
        """Raise UserError unless the model can be searched so. where: the model, for the message."""
        raise NotImplementedError

    def search_of(self, options: Mapping[str, Any]) -> tuple[SearchConfig, list[tuple[Scorer, float]]]:
        """The search and the scorers of options by name."""
        raise NotImplementedError

    def scorers_of(self, fusion: FusionConfig) -> list[tuple[Scorer, float]]:
        """The scorers of language models and hotwords."""
        raise NotImplementedError

    def search_features(
        self, batch: Sequence[np.ndarray], config: SearchConfig, scorers: list[tuple[Scorer, float]]
    ) -> list[tuple[int, list[Hypothesis]]]:
        """Encode and search features (T, F): the encoder frames of each, and its hypotheses, best first."""
        raise NotImplementedError

    def transcribe(
        self,
        audio: Any,
        sampling_rate: int | None = None,
        search: SearchConfig | None = None,
        scorers: Iterable[tuple[Scorer, float]] = (),
        chunks: ChunkConfig | None = None,
        **options: Any,
    ) -> Transcript | list[Transcript]:
        """Transcribe files or arrays of any length.

        Args:
            audio: a path, the bytes of an audio file or a file open for reading, or an array; or a list of them. Arrays
                are (num_samples,) or (channels, num_samples), floats in [-1, 1] or signed integers.
            sampling_rate: of the arrays, in Hz; files name their own.
            search: options of the search (default: greedy).
            scorers: pairs of scorer and weight, see `rnnt.search.search`.
            chunks: how long audio is cut.
            options: in place of `search` and `scorers`, options of transcribe.py by name: `decoding_method="..."`,
                `beam_size=8`, `nbest=4`, `blank_penalty=0.5`, `lm="3gram.arpa"`, `lm_scale=0.3`, ...; and
                `hotwords=["phrase", ...]` with `context_score=1.5`.

        Returns:
            A `Transcript`, or a list of them for a list.

        Raises:
            UserError: on the first input that is bad, and on options that do not exist or do not fit the model.
        """
        if options:
            if search is not None or scorers:
                raise UserError(f"give either search and scorers, or {', '.join(options)}")
            search, scorers = self.search_of(options)
        is_one = isinstance(audio, (str, bytes, bytearray)) or any(
            hasattr(audio, name) for name in ("__fspath__", "shape", "read")
        )
        found = []
        for result in self.transcribe_each([audio] if is_one else audio, sampling_rate, search, scorers, chunks):
            if isinstance(result, UserError):
                raise result
            found.append(result)
        return found[0] if is_one else found

    def transcribe_each(
        self,
        inputs: Iterable[Any],
        sampling_rate: int | None = None,
        search: SearchConfig | None = None,
        scorers: Iterable[tuple[Scorer, float]] = (),
        chunks: ChunkConfig | None = None,
        on_audio: Callable[[float], object] | None = None,
    ) -> Iterator[Transcript | UserError]:
        """Yield, for each of `inputs` in order, its `Transcript` or the `UserError` that says what is wrong with it.

        Memory does not grow with the length of a file.

        Args:
            inputs: as in `transcribe`, or opened `Audio`s.
            on_audio: called with the seconds of audio that were read, as reading continues.

        The other arguments are those of `transcribe`.
        """
        search, chunks, scorers = search or self.default_search(), chunks or ChunkConfig(), list(scorers)
        limit = chunks.batch_seconds / self.features.frame_shift
        jobs: deque[_Job] = deque()
        batch: list[_Chunk] = []
        for number, item in enumerate(inputs):
            job = _Job()
            jobs.append(job)
            for chunk in self._read(job, item, sampling_rate, number, chunks, on_audio):
                if batch and _padded_frames([*batch, chunk]) > limit:
                    self._search(batch, search, scorers)
                    batch = []
                batch.append(chunk)
            yield from self._take_done(jobs)
        if batch:
            self._search(batch, search, scorers)
        yield from self._take_done(jobs)

    def _read(
        self,
        job: _Job,
        item: Any,
        sampling_rate: int | None,
        number: int,
        config: ChunkConfig,
        on_audio: Callable[[float], object] | None,
    ) -> Iterator[_Chunk]:
        """Open an input and yield its chunks; what is wrong with it becomes the error of the job."""
        try:
            job.audio = item if isinstance(item, Audio) else open_audio(item, sampling_rate, number)
            job.hypotheses = [[] for _ in range(job.audio.num_channels)]
            for start, seconds, x_CTF in self._chunks(job.audio, config):
                for channel, x_TF in enumerate(x_CTF):
                    job.pending += 1
                    yield _Chunk(job, channel, start, x_TF)
                if on_audio:
                    on_audio(seconds)
        except UserError as error:
            job.error = error
        job.read = True

    def _chunks(self, audio: Audio, config: ChunkConfig) -> Iterator[tuple[int, float, list[np.ndarray]]]:
        """Yield `(first encoder frame, seconds of new audio, features of each channel)` per chunk."""
        rate = audio.sampling_rate
        # Chunks begin on encoder frames, so that a token's frame in the chunk gives its frame in the audio.
        hop_frames = max(1, int((config.chunk_seconds - config.overlap_seconds) / self.seconds_per_frame))
        hop = round(hop_frames * self.seconds_per_frame * rate)
        length = hop + round(config.overlap_seconds * rate)
        shortest = self.features.frame_length_ms / 1000 if self.features.snip_edges else self.features.frame_shift
        if audio.seconds < shortest:
            raise UserError(f"{audio.name}: only {audio.num_samples} samples, less than a frame")
        done = 0
        for number, samples_CN in enumerate(audio.blocks(length, hop)):
            end = number * hop + samples_CN.shape[1]
            resampled_CN = resample(samples_CN, rate, self.features.sampling_rate)
            x_CTF = [self._extractor.extract(samples_N) for samples_N in resampled_CN]
            yield number * hop_frames, (end - done) / rate, x_CTF
            done = end

    def _search(self, batch: list[_Chunk], config: SearchConfig, scorers: list[tuple[Scorer, float]]) -> None:
        """Search a batch and give the hypotheses to the jobs."""
        found = self.search_features([chunk.x_TF for chunk in batch], config, scorers)
        for chunk, (length, hypotheses) in zip(batch, found):
            others = tuple(hypotheses) if len(hypotheses) > 1 else ()
            hypothesis = ChunkHypothesis(chunk.start, chunk.start + length, hypotheses[0], others)
            chunk.job.hypotheses[chunk.channel].append(hypothesis)
            chunk.job.pending -= 1

    def _take_done(self, jobs: deque[_Job]) -> Iterator[Transcript | UserError]:
        """Take the jobs that are done from the front of the queue and yield their results."""
        while jobs and jobs[0].is_done:
            job = jobs.popleft()
            if job.error:
                yield job.error
            elif job.audio:
                channels = tuple(self._channel(hypotheses) for hypotheses in job.hypotheses)
                yield Transcript(job.audio.name, job.audio.seconds, channels)

    def _channel(self, hypotheses: list[ChunkHypothesis]) -> Channel:
        tokens = self.tokenizer.tokens
        tolerance = JOIN_TOLERANCE / self.seconds_per_frame
        hypothesis = join(hypotheses, lambda token: tokens[token].startswith(WORD_START), tolerance)
        text = self.tokenizer.decode(hypothesis.tokens)
        nbest = hypotheses[0].others if len(hypotheses) == 1 else ()
        return Channel(
            text,
            tuple(words(hypothesis, tokens, self.seconds_per_frame)),
            tuple(Alternative(self.tokenizer.decode(h.tokens), h.score) for h in nbest),
        )


def make_search(default: SearchConfig, given: Mapping[str, Any]) -> SearchConfig:
    """The default search with other options; `UserError` where one is wrong."""
    try:
        return make(SearchConfig, **{**to_dict(default), **given})
    except ValueError as error:
        raise UserError(str(error)) from None


def check_names(options: Mapping[str, Any], *configs: type, others: Sequence[str] = ()) -> None:
    """Raise UserError unless every option is a field of one of the classes, or one of `others`."""
    known = {f.name for config in configs for f in fields(config)} | set(others)
    unknown = [name for name in options if name not in known]
    if unknown:
        raise UserError(f"no option {', '.join(unknown)}; there are {', '.join(sorted(known))}")


def check_effect(search: SearchConfig, options: Mapping[str, Any]) -> None:
    """Raise UserError where an option changes nothing in the search."""
    without_effect = [name for name in options if name in METHODS[search.decoding_method].ignores]
    if without_effect:
        raise UserError(
            f"{', '.join(without_effect)}: without effect on {search.decoding_method}; choose another decoding_method, "
            "such as modified_beam_search"
        )
