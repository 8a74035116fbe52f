"""What the corpus page measures of each set: of every utterance some bytes, of a sample of them the audio."""

from __future__ import annotations

import heapq
import json
import random
from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnt.data.audio import files_of, read_samples
from rnnt.data.sound import AudioError
from rnnt.prepare.corpus_page.sound import measure

if TYPE_CHECKING:
    from rnnt.data.config import FeatureConfig

OUTLIERS = 5  # of each measure and end
SHARED = 10  # texts of a set that training has too, the longest ones
SECONDS, CHARACTERS, RATE = "seconds", "characters", "characters per second"
LOUDNESS, CLIPPED, SILENCE = "loudness, dB of full scale", "clipped samples, %", "silence, % of the time"
OF_ALL, OF_AUDIO = (SECONDS, CHARACTERS, RATE), (LOUDNESS, CLIPPED, SILENCE)


@dataclass(frozen=True)
class Example:
    """An utterance to look at: where its audio is, from `start` on for `seconds`."""

    id: str
    text: str
    files: tuple[str, ...]
    start: float
    seconds: float

    @classmethod
    def of(cls, cut: Any, text: str) -> Example:
        """That of a lhotse cut."""
        return cls(cut.id, text, tuple(files_of(cut)), float(cut.start), float(cut.duration))


class Extremes:
    """The utterances with the lowest and the highest values of a measure, a few of each."""

    def __init__(self) -> None:
        self._count = 0
        # The first of each heap is the least extreme of those kept; numbers settle ties.
        self._low: list[tuple[float, int, Example]] = []
        self._high: list[tuple[float, int, Example]] = []

    def add(self, value: float, make: Callable[[], Example]) -> None:
        """Look at a value; the example is made only where it is kept."""
        self._count -= 1
        for heap, key in ((self._low, -value), (self._high, value)):
            if len(heap) < OUTLIERS:
                heapq.heappush(heap, (key, self._count, make()))
            elif key > heap[0][0]:
                heapq.heapreplace(heap, (key, self._count, make()))

    def lowest(self) -> list[tuple[float, Example]]:
        """[(value, example)], the lowest first."""
        return [(-key, example) for key, _, example in sorted(self._low, reverse=True)]

    def highest(self) -> list[tuple[float, Example]]:
        """[(value, example)], the highest first."""
        return [(key, example) for key, _, example in sorted(self._high, reverse=True)]


class SetMeasures:
    """Measures of one set, filled in one pass over it, in about 20 bytes an utterance and a sample of cuts.

    Args:
        audio_sample: of how many utterances, drawn evenly, the audio is measured.

    Attributes:
        values: {measure: a value for each utterance}; those of `OF_AUDIO` are of the sample.
        extremes: {measure: `Extremes`}.
        texts: a hash of each text, letters of either case alike.
        unreadable: utterances of the sample whose audio can't be read.
    """

    def __init__(self, audio_sample: int) -> None:
        self.values = {name: array("f") for name in (*OF_ALL, *OF_AUDIO)}
        self.extremes = {name: Extremes() for name in (*OF_ALL, *OF_AUDIO)}
        self.texts = array("q")
        self.unreadable = 0
        self._size = audio_sample
        self._sample: list[tuple[Any, str]] = []
        self._draw = random.Random(0)

    def add(self, cut: Any, text: str) -> None:
        """Count a lhotse cut with its text."""
        seconds = float(cut.duration)
        for name, value in zip(OF_ALL, (seconds, len(text), len(text) / max(seconds, 1e-3))):
            self.values[name].append(value)
            self.extremes[name].add(value, lambda: Example.of(cut, text))
        self.texts.append(hash(text.casefold()))
        if not cut.has_recording:
            return
        # Algorithm R of Vitter 1985, "Random sampling with a reservoir": each utterance is kept with the same chance.
        if len(self._sample) < self._size:
            self._sample.append((cut, text))
        elif (place := self._draw.randrange(len(self.texts))) < self._size:
            self._sample[place] = (cut, text)

    def measure_audio(self, features: FeatureConfig) -> None:
        """Read the audio of the sample, which is forgotten."""
        for cut, text in self._sample:
            try:
                samples = read_samples(cut, features)
            except AudioError:
                self.unreadable += 1
                continue
            for name, value in zip(OF_AUDIO, measure(samples, cut.sampling_rate)):
                self.values[name].append(value)
                self.extremes[name].add(value, lambda: Example.of(cut, text))  # noqa: B023 - called at once
        self._sample = []


@dataclass
class Shared:
    """Texts of a set that the training set has too: how many utterances have one, and the longest of them."""

    count: int = 0
    longest: list[str] = field(default_factory=list)


def shared_texts(sets: Mapping[str, SetMeasures], train_set: str, folder: str | Path) -> dict[str, Shared]:
    """{set: `Shared`} of the sets that are not for training.

    Args:
        sets: measures of the sets; names that begin with train are other forms of the training set.
        train_set: the training set.
        folder: with `<set>.jsonl`, cuts in the order in which they were measured.
    """
    found = {}
    train = np.unique(np.asarray(sets[train_set].texts))
    for name, measures in sets.items():
        if name == train_set or name.startswith("train"):
            continue
        is_shared = np.isin(np.asarray(measures.texts), train)
        found[name] = Shared(int(is_shared.sum()))
        if found[name].count:
            with open(Path(folder) / f"{name}.jsonl", encoding="utf-8") as lines:
                found[name].longest = _longest(line for line, shared in zip(lines, is_shared) if shared)
    return found


def _longest(lines: Iterable[str]) -> list[str]:
    """The longest different texts of lines of cuts."""
    kept: list[str] = []
    for line in lines:
        text = json.loads(line)["supervisions"][0]["text"]
        if text not in kept:
            kept = heapq.nlargest(SHARED, [*kept, text], key=len)
    return kept
