"""Tables of results as text."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnt.errors import UserError
from rnnt.files import read_json
from rnnt.scoring.bootstrap import compare
from rnnt.scoring.mapsswe import mapsswe
from rnnt.scoring.pages.two_systems import ComparedSet
from rnnt.scoring.results_dir import comparable_sets, decoded_sets, left_out_text, read_results_dir, read_utterances

if TYPE_CHECKING:
    from rnnt.scoring.alignment import Counts
    from rnnt.scoring.bootstrap import Interval

RESULT_HEADER = ("set", "%WER", "%CER", "95%", "S", "D", "I", "words", "RTF")
COMPARE_HEADER = ("set", "A %", "B %", "B-A", "95%", "P(B<A)", "MAPSSWE", "segments")
WIDTH = 80  # columns of a terminal


def format_table(rows: Sequence[Sequence[str]], titles: Sequence[str] | None = None) -> list[str]:
    """Rows of texts as lines; the first row is the header, columns of numbers are flush right.

    Args:
        rows: of texts.
        titles: of the rows after the first: a title stands once above the rows that follow each other with it.
    """
    if titles:
        rows = [rows[0], *((f"  {first}", *others) for first, *others in rows[1:])]
    widths = [max(map(len, column)) for column in zip(*rows)]
    number = [all(_is_number(cell) for cell in column[1:]) for column in zip(*rows)]
    head, *lines = (
        "  ".join(c.rjust(w) if right else c.ljust(w) for c, w, right in zip(row, widths, number)).rstrip()
        for row in rows
    )
    found = [head, "  ".join("-" * width for width in widths)]
    for i, line in enumerate(lines):
        if titles and (i == 0 or titles[i] != titles[i - 1]):
            found += _wrap(titles[i])
        found.append(line)
    return found


def result_table(exp_dirs: Sequence[str | Path]) -> list[str]:
    """Lines of the table of all decoded sets, those of a decode below its name.

    The interval is the bootstrap's over speakers, or over utterances where fewer than five speakers are known. Interval
    and counts are of words, or of characters where the column `words` says so. A set of which not all utterances were
    scored has a `*`, and lines below the table have their number and the reasons.
    """
    rows, titles, notes = [], [], []
    for exp_dir, folders in zip(exp_dirs, decoded_sets(exp_dirs)):
        for (decode, name), folder in folders.items():
            s = read_json(folder / "summary.json")
            left_out = s.get("left_out", {})
            rows.append([
                f"{name}*" if left_out else name,
                f"{s['wer']:.2f}",
                f"{s['cer']:.2f}" if "cer" in s else "",  # sets decoded by an earlier version have none
                f"{s['wer_low']:.2f}-{s['wer_high']:.2f}",
                *(str(s[key]) for key in ("substitutions", "deletions", "insertions")),
                f"{s['words']}{' chars' if s['unit'] == 'char' else ''}",
                f"{s['rtf']:.4f}",
            ])  # fmt: skip
            method = s.get("search", {}).get("decoding_method", decode)
            experiment = f"{exp_dir}: " if len(exp_dirs) > 1 else ""
            titles.append(f"{experiment}{', '.join([method, s['checkpoint'], *_settings(decode, method, s)])}")
            note = f"* {name}: {left_out_text(left_out)}" if left_out else ""
            if note and note not in notes:
                notes.append(note)
    return [*format_table([RESULT_HEADER, *rows], titles), *chain.from_iterable(map(_wrap, notes))]


def compared_sets(a_dir: str | Path, b_dir: str | Path) -> list[ComparedSet]:
    """The sets that two experiments, decodes or decoded sets have in common, see `comparable_sets`.

    Raises:
        UserError: when there are none, or when the references differ.
    """
    found = []
    for decode, name, a_set, b_set in comparable_sets(a_dir, b_dir):
        (a, _), (b, _) = read_results_dir(a_set), read_results_dir(b_set)
        if a.refs != b.refs or a.unit != b.unit:
            raise UserError(f"{a_set} and {b_set} have different references; decode the same set with both")
        about = {utterance["id"]: utterance for utterance in read_utterances(a_set)}
        found.append(ComparedSet(decode, name, a, b, compare(a, b), mapsswe(a, b), about))
    return found


def compare_table(sets: Sequence[ComparedSet]) -> list[str]:
    """Lines of the table that compares two systems.

    Rates are of words, or of characters where the sets were decoded with `--unit char`. `P(B<A)` is the fraction of the
    bootstrap's samples in which B has the lower rate (ties count half), `MAPSSWE` the p-value of that test.
    """
    rows: list[Sequence[str]] = [COMPARE_HEADER]
    for s in sets:
        interval = f"{s.paired.interval.low:+.2f}..{s.paired.interval.high:+.2f}"
        numbers = f"{s.a.rate:.2f}", f"{s.b.rate:.2f}", f"{s.paired.difference:+.2f}", interval
        rows.append((s.name, *numbers, f"{s.paired.improvement:.3f}", f"{s.test.p:.4f}", str(s.test.segments)))
    return format_table(rows, [s.decode for s in sets])


def rate_table(field: str, unit: str, rows: Sequence[tuple[str, int, Counts, Interval]]) -> list[str]:
    """Lines of the table of the rates by a field, see `rnnt.scoring.by_field.rates_by`."""
    head = (field, "utterances", f"{unit}s", "%WER" if unit == "word" else "%CER", "95%", "S", "D", "I")
    lines: list[Sequence[str]] = [head]
    for name, utterances, c, interval in rows:
        numbers = (utterances, c.length, f"{c.rate:.2f}", f"{interval.low:.2f}-{interval.high:.2f}")
        lines.append((name, *map(str, numbers), str(c.substitutions), str(c.deletions), str(c.insertions)))
    return format_table(lines)


def _settings(decode: str, method: str, summary: Mapping[str, Any]) -> list[str]:
    """What the name of a decode says beyond the method and the name of the weights."""
    parts = decode.removeprefix(method).strip("_").split("_")
    return [part for part in parts if part and f"-{part}-" not in f"-{summary['checkpoint']}-"]


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="    ", break_on_hyphens=False)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
