"""Cuts a long recording with its text into utterances, by what a model hears in it.

The words that are heard and those of the text are aligned by the fewest edits. A cut lies in a pause between two heard
words that both stand in the text, one after the other: what is before it and behind it in the text is then known. Each
segment is as long as the limit allows. How much of its text was not heard, or heard otherwise, tells whether to trust
it.

The idea is that of Moreno et al. 1998, "A recursive algorithm for the forced alignment of very long audio segments":
stretches that match are islands of confidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from rnnt.scoring.alignment import align
from rnnt.search.result import Word


@dataclass(frozen=True)
class Limits:
    """What a segment may be.

    Attributes:
        seconds: the longest.
        pause: seconds between two words between which a cut may lie.
        mismatch: the largest part of words that differ in a segment that is trusted.
    """

    seconds: float = 20.0
    pause: float = 0.3
    mismatch: float = 0.2


@dataclass(frozen=True)
class Segment:
    """A part of a recording: times in seconds, its text, what was heard, the part of words that differ.

    `fault` says why it is not to be trusted; it is empty where it is.
    """

    start: float
    end: float
    text: str
    heard: str
    mismatch: float
    fault: str


def plain(word: str) -> str:
    """A word as it is compared: small letters and digits alone; what has none of them stays as it is."""
    return "".join(c for c in word.casefold() if c.isalnum()) or word


def cut(heard: Sequence[Word], text: str, seconds: float, limits: Limits) -> list[Segment]:
    """The segments of a recording, which cover all of it and all of the text.

    Args:
        heard: words with their times, in order.
        text: what was said.
        seconds: length of the recording.
        limits: of a segment.
    """
    wanted = text.split()
    spans = align([[plain(word) for word in wanted]], [[plain(word.word) for word in heard]])[0].spans
    partner: dict[int, int] = {}  # of heard words in the text
    for op, first, last, heard_first, _ in spans:
        if op == "equal":
            partner.update((heard_first + i, first + i) for i in range(last - first))
    ends = [(0, 0, 0.0)]  # (heard words, words of the text, seconds) before each possible cut
    for i, (before, after) in enumerate(pairwise(heard)):
        follows = i in partner and partner.get(i + 1) == partner[i] + 1
        if follows and after.start - before.end >= limits.pause:
            ends.append((i + 1, partner[i] + 1, (before.end + after.start) / 2))
    ends.append((len(heard), len(wanted), seconds))
    chosen = [ends[0]]
    for place, following in pairwise(ends[1:]):
        if following[2] - chosen[-1][2] > limits.seconds:
            chosen.append(place)
    chosen.append(ends[-1])
    return [_segment(a, b, heard, wanted, limits) for a, b in pairwise(chosen)]


def _segment(
    begin: tuple[int, int, float],
    end: tuple[int, int, float],
    heard: Sequence[Word],
    wanted: Sequence[str],
    limits: Limits,
) -> Segment:
    words, said = wanted[begin[1] : end[1]], [word.word for word in heard[begin[0] : end[0]]]
    errors = align([[plain(word) for word in words]], [[plain(word) for word in said]])[0].counts.errors
    mismatch = errors / max(len(words), len(said), 1)
    fault = ""
    if end[2] - begin[2] > limits.seconds:
        fault = "no pause in matching words to cut at"
    elif not words:
        fault = "no text"
    elif mismatch > limits.mismatch:
        fault = "text and audio differ"
    return Segment(begin[2], end[2], " ".join(words), " ".join(said), mismatch, fault)
