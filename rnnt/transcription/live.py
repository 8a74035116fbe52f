"""Files transcribed as if they were being spoken."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnt.errors import UserError
from rnnt.transcription.result import Channel, Transcript

if TYPE_CHECKING:
    from rnnt.model.encoders.config import ChunkChoice
    from rnnt.search.config import SearchConfig
    from rnnt.search.fusion import Scorer
    from rnnt.search.result import Word
    from rnnt.streaming.config import StreamConfig
    from rnnt.streaming.recognizer import StreamingRecognizer
    from rnnt.transcription.audio import Audio
    from rnnt.transcription.base import BaseRecognizer

PIECE = 0.1  # seconds that come at a time


def choose_chunks_of(recognizer: BaseRecognizer, name: str, choice: ChunkChoice) -> None:
    """Let a causal encoder see what `choice` says; raises `UserError` where there is none. name: for messages."""
    from rnnt.model.encoders.streaming import choose_chunks

    choose_chunks(_with_model(recognizer, name).model, choice)


def streaming_of(
    recognizer: BaseRecognizer,
    name: str,
    search: SearchConfig,
    scorers: list[tuple[Scorer, float]],
    streams: StreamConfig,
    choice: ChunkChoice,
) -> StreamingRecognizer:
    """What makes streams of the model `name`, whose encoder sees what `choice` says; raises `UserError`."""
    choose_chunks_of(recognizer, name, choice)
    return _with_model(recognizer, name).streaming(search, scorers, streams)


def _with_model(recognizer: BaseRecognizer, name: str) -> Any:
    if not hasattr(recognizer.model, "encoder"):
        raise UserError(f"{name}: graphs hear whole utterances here; --streaming and --chunk-size need PyTorch")
    return recognizer


class LiveTranscription:
    """Transcribes audio by a stream for each channel, in pieces of 0.1 s, and measures how long they take.

    Args:
        recognizer: of the streams.
    """

    def __init__(self, recognizer: StreamingRecognizer) -> None:
        self.recognizer = recognizer
        self._seconds = 0.0
        self._taken: list[float] = []

    def transcribe_each(
        self, inputs: Iterable[Audio], on_audio: Callable[[float], object]
    ) -> Iterator[Transcript | UserError]:
        """Yield the `Transcript` of each input, or what is wrong with it; on_audio gets the seconds that were read."""
        for audio in inputs:
            try:
                yield self._transcribe(audio, on_audio)
            except UserError as error:
                yield error

    def _transcribe(self, audio: Audio, on_audio: Callable[[float], object]) -> Transcript:
        rate = audio.sampling_rate
        size = max(1, round(PIECE * rate))
        streams = [self.recognizer.stream() for _ in range(audio.num_channels)]
        texts: list[list[str]] = [[] for _ in streams]
        words: list[list[Word]] = [[] for _ in streams]
        for samples_CN in audio.blocks(size, size):
            start = time.perf_counter()
            for stream, samples_N in zip(streams, samples_CN):
                stream.put(np.ascontiguousarray(samples_N), rate)
            while self.recognizer.decode(streams):
                pass
            self._taken.append(time.perf_counter() - start)
            for stream, said, found in zip(streams, texts, words):
                if stream.is_endpoint:
                    said.append(stream.text)
                    found += stream.words
                    stream.next_utterance()
            on_audio(samples_CN.shape[1] / rate)
        for stream, said, found in zip(streams, texts, words):
            said.append(stream.finish())
            found += stream.words
        self._seconds += audio.seconds
        channels = (Channel(" ".join(filter(None, said)), tuple(found)) for said, found in zip(texts, words))
        return Transcript(audio.name, audio.seconds, tuple(channels))

    def summary(self) -> str:
        """How long recognition took beside the time of the audio."""
        if not self._taken:
            return "no audio"
        windows, shift = self.recognizer.windows, self.recognizer.features.frame_shift
        ahead = (windows.size - windows.shift) * shift
        share = sum(self._taken) / max(self._seconds, 1e-9)
        return (
            f"{self._seconds:.1f} s of audio in pieces of {PIECE:g} s: {share:.3f} of real time, the slowest piece "
            f"{1000 * max(self._taken):.0f} ms; chunks of {windows.shift * shift:.2f} s, look-ahead {ahead:.2f} s"
        )
