"""What a set of utterances holds: durations, speakers, characters, tokens; as text and for JSON."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

PERCENTILES = (0, 1, 5, 25, 50, 75, 95, 99, 100)
SHOWN_CHARACTERS = 60
UNKNOWN_SPEAKER = "-"


class SetStatistics:
    """Statistics of one set, in 8 bytes per utterance and some for each speaker.

    Attributes:
        durations: seconds of each utterance.
        tokens: tokens of each utterance.
        speakers: {speaker: [utterances, seconds]}; "-" where the speaker isn't known.
        characters: `Counter` of the characters of the transcripts, spaces left out.
        token_counts: `Counter` of the ids of tokens.
    """

    def __init__(self) -> None:
        self.durations, self.tokens = array("f"), array("I")
        self.speakers: dict[str, list[Any]] = {}
        self.characters: Counter[str] = Counter()
        self.token_counts: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self.durations)

    def add(self, seconds: float, speaker: str | None, text: str, tokens: Sequence[int]) -> None:
        """Add an utterance; `tokens`: the ids of its transcript."""
        self.durations.append(seconds)
        self.tokens.append(len(tokens))
        entry = self.speakers.setdefault(speaker or UNKNOWN_SPEAKER, [0, 0.0])
        entry[0] += 1
        entry[1] += seconds
        self.characters.update(text)
        del self.characters[" "]
        self.token_counts.update(tokens)

    @property
    def hours(self) -> float:
        return sum(self.durations) / 3600

    def speaker_hours(self) -> list[float]:
        """Hours of each known speaker, the one with most first."""
        return sorted((s / 3600 for who, (_, s) in self.speakers.items() if who != UNKNOWN_SPEAKER), reverse=True)

    def measures(self) -> dict[str, np.ndarray]:
        """{what is measured: a value for each utterance}."""
        durations, tokens = np.asarray(self.durations), np.asarray(self.tokens)
        return {
            "seconds per utterance": durations,
            "tokens per utterance": tokens,
            "tokens per second": tokens / np.maximum(durations, 1e-3),
        }

    def to_dict(self, names: Sequence[str]) -> dict[str, Any]:
        """For JSON; `names`: the token of each id."""
        return {
            "utterances": len(self),
            "hours": round(self.hours, 4),
            "percentiles": {what: _percentiles(values) for what, values in self.measures().items() if len(self)},
            "speakers": {who: {"utterances": n, "hours": round(s / 3600, 4)} for who, (n, s) in self.speakers.items()},
            "characters": dict(self.characters.most_common()),
            "tokens": {names[i]: count for i, count in self.token_counts.most_common()},
        }


def _percentiles(values: np.ndarray) -> dict[str, float]:
    return {str(p): round(float(value), 3) for p, value in zip(PERCENTILES, np.percentile(values, PERCENTILES))}


def statistics_lines(sets: Mapping[str, SetStatistics], train_set: str, names: Sequence[str]) -> list[str]:
    """Lines of text about `{set: SetStatistics}`; `names`: the token of each id."""
    width = max([len(name) for name in sets] + [3])
    lines = [f"{'set':<{width}} {'utterances':>10} {'hours':>8} {'speakers':>8} {'characters':>10} {'tokens':>9}"]
    for name, s in sets.items():
        lines.append(
            f"{name:<{width}} {len(s):10d} {s.hours:8.2f} {len(s.speaker_hours()):8d} {len(s.characters):10d} "
            f"{sum(s.tokens):9d}"
        )
    head = " ".join(f"{f'{p}%':>7}" for p in PERCENTILES)
    for what in SetStatistics().measures():
        lines += ["", f"{what}, percentiles", f"{'':<{width}} {head}"]
        for name, s in sets.items():
            if len(s):
                values = np.percentile(s.measures()[what], PERCENTILES)
                lines.append(f"{name:<{width}} " + " ".join(f"{value:7.2f}" for value in values))
    train = sets[train_set]
    shown = [f"{c} {n}" for c, n in train.characters.most_common(SHOWN_CHARACTERS)]
    more = len(train.characters) - len(shown)
    lines += ["", f"characters of {train_set}: {', '.join(shown)}{f', and {more} more' if more > 0 else ''}"]
    unseen = len(names) - len(train.token_counts)
    lines.append(f"tokens of the model that {train_set} does not use, special ones counted: {unseen} of {len(names)}")
    return lines
