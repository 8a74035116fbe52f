"""Cuts the utterances of a set in their pauses: what is short is easier to begin to learn from, and quicker to compute.

An utterance that is too long is cut in the middle of its longest pause between two words, and its parts likewise.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnt.data.manifest import CutManifest
from rnnt.errors import UserError, counted
from rnnt.files import atomic_path, atomic_write

if TYPE_CHECKING:
    from rnnt.alignment.result import AlignedUtterance
    from rnnt.data.manifest import Manifest
    from rnnt.search.result import Word

MIN_PAUSE = 0.12  # seconds; closures of stops are shorter
SHORTEST = 1.0  # seconds that a part has at least


@dataclass(frozen=True)
class Part:
    """A part of an utterance: times in seconds, and its words."""

    start: float
    end: float
    text: str


def cut_in_pauses(words: Sequence[Word], seconds: float, longest: float, shortest: float = SHORTEST) -> list[Part]:
    """The parts of an utterance, in order; together they are all of it.

    Args:
        words: of the utterance, with their times.
        seconds: its length.
        longest: seconds that a part may have, if there are pauses enough.
        shortest: seconds that each has.
    """
    return list(_parts(words, 0.0, seconds, longest, shortest))


def _parts(words: Sequence[Word], start: float, end: float, longest: float, shortest: float) -> Iterator[Part]:
    places = []
    for number, (word, following) in enumerate(pairwise(words), 1):
        pause, middle = following.start - word.end, (word.end + following.start) / 2
        if pause >= MIN_PAUSE and min(middle - start, end - middle) >= shortest:
            places.append((pause, number, middle))
    if end - start <= longest or not places:
        yield Part(start, end, " ".join(word.word for word in words))
        return
    _, number, middle = max(places)
    yield from _parts(words[:number], start, middle, longest, shortest)
    yield from _parts(words[number:], middle, end, longest, shortest)


def check_can_cut(manifest: Manifest) -> None:
    """Raise UserError where the utterances of a set can't be cut."""
    if not isinstance(manifest, CutManifest):
        raise UserError(f"{manifest.path}: --cut-seconds can't cut a set in shards; align it before stage 6")


def write_shorter(
    folder: Path,
    manifest: Manifest,
    utterances: Iterable[AlignedUtterance],
    frame_shift: float,
    longest: float,
    shortest: float = SHORTEST,
) -> None:
    """Write `cuts/<set>.jsonl` and its features.json into the folder of a set's alignment; print a line.

    Args:
        folder: named like the set.
        manifest: of the set.
        utterances: aligned; one that could not be is left as it is.
        frame_shift: seconds between the stored features: where cuts may be.
        longest: see `cut_in_pauses`.
        shortest: likewise.
    """
    by_id = {utterance.id: utterance for utterance in utterances}
    out = folder / "cuts" / f"{folder.name}.jsonl"
    whole = parts = 0
    with atomic_write(out) as file:
        for number in range(len(manifest)):
            cut: Any = manifest[number]
            whole += 1
            for line in _lines(cut, by_id[cut.id], frame_shift, longest, shortest):
                file.write(line)
                parts += 1
    with atomic_path(out.with_name("features.json")) as path:
        shutil.copyfile(manifest.path.with_name("features.json"), path)
    print(f"{out}: {counted(whole, 'utterance')} cut into {parts}", flush=True)


def _lines(cut: Any, utterance: AlignedUtterance, frame_shift: float, longest: float, shortest: float) -> Iterator[str]:
    """The manifest's lines of an utterance, which is a lhotse cut with one supervision."""
    spans = cut_in_pauses(utterance.words, cut.duration, longest, shortest) if utterance.words else []
    if len(spans) < 2:
        yield json.dumps(cut.to_dict(), ensure_ascii=False) + "\n"
        return
    said = cut.supervisions[0]
    for number, part in enumerate(spans, 1):
        start, end = (round(round(seconds / frame_shift) * frame_shift, 6) for seconds in (part.start, part.end))
        end = end if number < len(spans) else cut.duration
        piece = cut.truncate(offset=start, duration=round(end - start, 6)).with_id(f"{cut.id}-{number}")
        own = {"id": piece.id, "text": part.text, "start": 0.0, "duration": piece.duration, "alignment": None}
        piece.supervisions = [replace(said, **own)]
        yield json.dumps(piece.to_dict(), ensure_ascii=False) + "\n"
