"""An aligned utterance, and how it is written: CTM, TextGrid, JSON. Free of torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from rnnt.search.result import Word


@dataclass(frozen=True)
class AlignedUtterance:
    """The words and tokens of a text with their times in seconds; none of them where it could not be aligned.

    Attributes:
        id: of the cut.
        speaker: None where it is not known.
        seconds: its length.
        audio: its files.
        text: what was aligned.
        heard: what greedy search finds in the audio.
        score: log-probability of the best path for the text, minus infinity where there is none.
        misfit: how much more likely the path of `heard` is: the difference of the logarithms, per second.
        words: of the text; the confidence is the least of the word's tokens.
        tokens: the same for each token.
    """

    id: str
    speaker: str | None
    seconds: float
    audio: Sequence[str]
    text: str
    heard: str
    score: float
    misfit: float
    words: Sequence[Word] = ()
    tokens: Sequence[Word] = ()

    def as_json(self) -> dict[str, Any]:
        """The object of alignments.jsonl: times in seconds; numbers that are not finite are null."""
        return {
            "id": self.id,
            "speaker": self.speaker,
            "seconds": round(self.seconds, 3),
            "audio": list(self.audio),
            "text": self.text,
            "heard": self.heard,
            "score": round(self.score, 4) if abs(self.score) != float("inf") else None,
            "misfit": round(self.misfit, 4) if abs(self.misfit) != float("inf") else None,
            "words": [_part("word", word) for word in self.words],
            "tokens": [_part("token", token) for token in self.tokens],
        }


def _part(name: str, part: Word) -> dict[str, Any]:
    times = {"start": round(part.start, 3), "end": round(part.end, 3)}
    return {name: part.word, **times, "confidence": round(part.confidence, 4)}


def ctm_lines(name: str, parts: Iterable[Word]) -> list[str]:
    """NIST's form, a line each: `utterance channel start duration word confidence`."""
    key = "_".join(name.split())
    return [f"{key} 1 {p.start:.3f} {p.end - p.start:.3f} {p.word} {p.confidence:.4f}" for p in parts]


def textgrid(utterance: AlignedUtterance) -> str:
    """A TextGrid of Praat in its long form with the tiers `words` and `tokens`; what no word covers is empty.

    Source: https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html
    """
    seconds = max([utterance.seconds, *(p.end for p in (*utterance.words, *utterance.tokens))])
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {seconds:.4f}"]
    lines += ["tiers? <exists>", "size = 2", "item []:"]
    for number, (name, parts) in enumerate((("words", utterance.words), ("tokens", utterance.tokens)), 1):
        intervals = _intervals(parts, seconds)
        lines += [f"    item [{number}]:", '        class = "IntervalTier"', f'        name = "{name}"']
        lines += ["        xmin = 0", f"        xmax = {seconds:.4f}", f"        intervals: size = {len(intervals)}"]
        for i, part in enumerate(intervals, 1):
            text = part.word.replace('"', '""')
            lines += [f"        intervals [{i}]:", f"            xmin = {part.start:.4f}"]
            lines += [f"            xmax = {part.end:.4f}", f'            text = "{text}"']
    return "\n".join(lines) + "\n"


def _intervals(parts: Sequence[Word], seconds: float) -> list[Word]:
    """Parts that cover 0 to `seconds` without gaps and overlaps, as a tier must; those of one start are one."""
    groups = [list(group) for _, group in groupby(parts, key=lambda part: part.start)]
    found: list[Word] = []
    at = 0.0
    for group, following in zip(groups, [*(group[0].start for group in groups[1:]), seconds]):
        start, end = group[0].start, min(group[-1].end, following)
        if start > at:
            found.append(Word("", at, start, 1.0))
        found.append(Word(" ".join(part.word for part in group), start, end, 1.0))
        at = end
    if at < seconds:
        found.append(Word("", at, seconds, 1.0))
    return found
