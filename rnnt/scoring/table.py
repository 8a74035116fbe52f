"""Tables of results as text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING

from rnnt.errors import UserError
from rnnt.files import read_json
from rnnt.scoring.bootstrap import compare
from rnnt.scoring.mapsswe import mapsswe
from rnnt.scoring.pages.two_systems import ComparedSet
from rnnt.scoring.results_dir import comparable_sets, decoded_sets, left_out_text, read_results_dir, read_utterances

if TYPE_CHECKING:
    from rnnt.scoring.alignment import Counts
    from rnnt.scoring.bootstrap import Interval

RESULT_HEADER = ("method", "settings", "set", "%WER", "%CER", "95%", "S", "D", "I", "words", "left out", "RTF", "model")
COMPARE_HEADER = ("method", "set", "A %", "B %", "B-A", "95%", "P(B better)", "MAPSSWE p", "segments")


def format_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of texts as lines; the first row is the header, columns of numbers are flush right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    number = [all(_is_number(cell) for cell in column[1:]) for column in zip(*rows)]
    lines = [
        "  ".join(c.rjust(w) if right else c.ljust(w) for c, w, right in zip(row, widths, number)).rstrip()
        for row in rows
    ]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


def result_table(exp_dirs: Sequence[str | Path]) -> list[str]:
    """Lines of the table of all decoded sets; the experiment is a column when there are several.

    The interval is the bootstrap's over speakers, or over utterances where fewer than five speakers are known. Interval
    and counts are of words, or of characters where the column `words` says so. Where utterances were not scored, the
    column `left out` has their number and lines below the table the reasons.
    """
    rows, notes = [], []
    for exp_dir, folders in zip(exp_dirs, decoded_sets(exp_dirs)):
        for (decode, name), folder in folders.items():
            s = read_json(folder / "summary.json")
            method = s.get("search", {}).get("decoding_method", decode)
            settings = decode.removeprefix(method).strip("_").replace("_", " ")
            numbers = [str(s[key]) for key in ("substitutions", "deletions", "insertions")]
            numbers.append(f"{s['words']}{' chars' if s['unit'] == 'char' else ''}")
            # Sets decoded by an earlier version have no CER.
            cer = f"{s['cer']:.2f}" if "cer" in s else ""
            interval = f"{s['wer_low']:.2f}-{s['wer_high']:.2f}"
            numbers.append(str(sum(s["left_out"].values())) if "left_out" in s else "")
            row = [
                method,
                settings,
                name,
                f"{s['wer']:.2f}",
                cer,
                interval,
                *numbers,
                f"{s['rtf']:.4f}",
                s["checkpoint"],
            ]
            rows.append([str(exp_dir), *row])
            note = f"{name}: {left_out_text(s['left_out'])}" if s.get("left_out") else ""
            if note and note not in notes:
                notes.append(note)
    header = ["experiment", *RESULT_HEADER]
    optional = {"left out": bool(notes), "settings": any(row[2] for row in rows)}
    shown = [len(exp_dirs) > 1, *(optional.get(name, True) for name in RESULT_HEADER)]
    return [*format_table([list(compress(row, shown)) for row in [header, *rows]]), *notes]


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

    Rates are of words, or of characters where the sets were decoded with `--unit char`.
    """
    rows: list[Sequence[str]] = [COMPARE_HEADER]
    for s in sets:
        interval = f"{s.paired.interval.low:+.2f}..{s.paired.interval.high:+.2f}"
        numbers = f"{s.a.rate:.2f}", f"{s.b.rate:.2f}", f"{s.paired.difference:+.2f}", interval
        rows.append(
            (s.decode, s.name, *numbers, f"{s.paired.improvement:.3f}", f"{s.test.p:.4f}", str(s.test.segments))
        )
    return format_table(rows)


def rate_table(field: str, unit: str, rows: Sequence[tuple[str, int, Counts, Interval]]) -> list[str]:
    """Lines of the table of the rates by a field, see `rnnt.scoring.by_field.rates_by`."""
    head = (field, "utterances", f"{unit}s", "%WER" if unit == "word" else "%CER", "95%", "S", "D", "I")
    lines: list[Sequence[str]] = [head]
    for name, utterances, c, interval in rows:
        numbers = (utterances, c.length, f"{c.rate:.2f}", f"{interval.low:.2f}-{interval.high:.2f}")
        lines.append((name, *map(str, numbers), str(c.substitutions), str(c.deletions), str(c.insertions)))
    return format_table(lines)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
