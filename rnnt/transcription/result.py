"""What a transcription returns. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass

from rnnt.search.result import Word


@dataclass(frozen=True)
class Alternative:
    """A hypothesis of an n-best list; `score` is its log-probability with what language models and hotwords added."""

    text: str
    score: float


@dataclass(frozen=True)
class Channel:
    """The transcript of one channel; times in seconds from the beginning, confidences in [0, 1].

    `nbest` has what the search found, best first, where more than one hypothesis was asked for (`nbest=`) and the audio
    is no longer than a chunk; else it is empty.
    """

    text: str
    words: tuple[Word, ...]
    nbest: tuple[Alternative, ...] = ()


@dataclass(frozen=True)
class Transcript:
    """The transcript of one file or array; `seconds` is its length."""

    name: str
    seconds: float
    channels: tuple[Channel, ...]

    @property
    def text(self) -> str:
        """The text, one line per channel."""
        return "\n".join(channel.text for channel in self.channels)
