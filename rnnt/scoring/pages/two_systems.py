"""Two systems side by side: one HTML page, without network, with the errors of both under each reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnt.files import atomic_write
from rnnt.pages.document import document, table
from rnnt.pages.listening import LEGEND, STYLE, Entry, filters

if TYPE_CHECKING:
    from rnnt.scoring.alignment import Alignment
    from rnnt.scoring.bootstrap import Comparison
    from rnnt.scoring.mapsswe import Mapsswe
    from rnnt.scoring.report import Report

MOST = 500  # utterances of each set
KINDS = {"A": "fewer errors of A", "B": "fewer errors of B", "=": "as many of both"}
Cell = tuple[str, "str | None"]  # its letter C, S, D or I, and its word


@dataclass(frozen=True)
class ComparedSet:
    """A set that two systems decoded, with the tests on it; `about` has the objects of utterances.jsonl by id."""

    decode: str
    name: str
    a: Report
    b: Report
    paired: Comparison
    test: Mapsswe
    about: Mapping[str, Mapping[str, Any]]


def write_compare_page(path: str | Path, a_name: str, b_name: str, sets: Sequence[ComparedSet]) -> None:
    """Write the page about systems A and B, of those names."""
    folder = Path(path).parent
    shown = [(found, key) for found in sets for key in different_first(found.a, found.b)]
    shown.sort(key=lambda item: -abs(_difference(item[0], item[1])))
    speakers = {found.a.speakers[key] for found, key in shown if key in found.a.speakers}
    parts = [
        "<h1>Two systems</h1>",
        f"<p><b>A</b> {escape(a_name)}<br><b>B</b> {escape(b_name)}</p>",
        _summary(sets),
        '<p class="weak">Difference: B minus A, with its 95 % interval by the bootstrap over utterances, or speakers '
        "where five are known. p: of the matched-pairs sentence-segment test, two-sided; below 0.05 the "
        "difference is hardly due to chance.</p>",
        "<h2>Utterances, the largest differences first</h2>",
        LEGEND.format(rows="the reference, A and B"),
        filters(speakers, KINDS) if shown else '<p class="weak">Neither makes an error.</p>',
        *(_entry(found, key).html(folder) for found, key in shown),
    ]
    with atomic_write(path) as file:
        file.write(document(f"{a_name} and {b_name}", parts, STYLE))


def different_first(a: Report, b: Report) -> list[str]:
    """Ids of the utterances in which either has an error, those first in whose number they differ most."""
    errors = {key: (a.counts_by_utterance[key].errors, b.counts_by_utterance[key].errors) for key in a.alignments}
    wrong = [key for key, counts in errors.items() if any(counts)]
    return sorted(wrong, key=lambda key: (-abs(errors[key][0] - errors[key][1]), -max(errors[key]), key))[:MOST]


def columns(a: Alignment, b: Alignment) -> list[tuple[Cell, Cell, Cell]]:
    """The words of the reference, of A and of B below each other: (reference, A, B) of each column.

    What both insert before the same word shares columns.

    Args:
        a, b: of the same reference.
    """
    (a_inserted, a_words), (b_inserted, b_words) = _slots(a), _slots(b)
    found: list[tuple[Cell, Cell, Cell]] = []
    for place in range(len(a.ref) + 1):
        for i in range(max(len(a_inserted[place]), len(b_inserted[place]))):
            found.append((("", None), _inserted(a_inserted[place], i), _inserted(b_inserted[place], i)))
        if place < len(a.ref):
            found.append((("", a.ref[place]), a_words[place], b_words[place]))
    return found


def _slots(alignment: Alignment) -> tuple[list[list[str]], list[Cell]]:
    """What is inserted before each of the N words of the reference and behind the last, and what stands for each."""
    inserted: list[list[str]] = [[]]
    words: list[Cell] = []
    for op, _, hyp in alignment.pairs():
        if op == "I":
            inserted[-1].append(hyp or "")
        else:
            words.append((op, hyp))
            inserted.append([])
    return inserted, words


def _inserted(words: Sequence[str], i: int) -> Cell:
    return ("I", words[i]) if i < len(words) else ("", None)


def _summary(sets: Sequence[ComparedSet]) -> str:
    names = ("method", "set", "A %", "B %", "B - A", "95 % interval", "P(B<A)", "MAPSSWE", "segments")
    return table(
        names,
        [
            (
                escape(s.decode), escape(s.name), f"{s.a.rate:.2f}", f"{s.b.rate:.2f}",
                f"{s.paired.difference:+.2f}", f"{s.paired.interval.low:+.2f} to {s.paired.interval.high:+.2f}",
                f"{s.paired.improvement:.3f}", f"{s.test.p:.4f}", s.test.segments,
            )
            for s in sets
        ],
    )  # fmt: skip


def _difference(found: ComparedSet, key: str) -> int:
    return found.b.counts_by_utterance[key].errors - found.a.counts_by_utterance[key].errors


def _entry(found: ComparedSet, key: str) -> Entry:
    a, b = found.a.counts_by_utterance[key], found.b.counts_by_utterance[key]
    difference = _difference(found, key)
    kind = "A" if difference > 0 else "B" if difference < 0 else "="
    rows = zip(("reference", "A", "B"), zip(*columns(found.a.alignments[key], found.b.alignments[key])))
    facts = [found.name, f"A {a.errors}, B {b.errors} of {a.length}"]
    return Entry(key, found.about.get(key, {}), facts, [kind], list(rows))
