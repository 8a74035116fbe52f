"""One table of all decoded sets of experiments."""

from pathlib import Path

from rnnt.errors import UserError
from rnnt.files import read_json

HEADER = ("method", "set", "%WER", "S", "D", "I", "words", "RTF", "model")


def find_summaries(exp_dirs):
    """The contents of all `decode_*/<set>/summary.json`, by folder, method and set. Raises `UserError` if none."""
    found = []
    for exp_dir in exp_dirs:
        paths = sorted(Path(exp_dir).glob("decode_*/*/summary.json"))
        if not paths:
            raise UserError(f"{exp_dir}: no decode_*/<set>/summary.json in it; run decode.py first")
        found += [(exp_dir, path.parent.parent.name.removeprefix("decode_"), read_json(path)) for path in paths]
    return found


def format_table(rows):
    """Rows of texts as lines; the first row is the header, the numbers are flush right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    number = [all(_is_number(cell) for cell in column[1:]) for column in zip(*rows)]
    lines = [
        "  ".join(c.rjust(w) if right else c.ljust(w) for c, w, right in zip(row, widths, number)).rstrip()
        for row in rows
    ]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


def result_table(exp_dirs):
    """Lines of the table of results; the experiment is a column when there are several."""
    rows = [HEADER]
    for _, method, s in find_summaries(exp_dirs):
        rows.append(
            (
                method,
                s["set"],
                f"{s['wer']:.2f}",
                *(str(s[name]) for name in ("substitutions", "deletions", "insertions", "words")),
                f"{s['rtf']:.4f}",
                s["checkpoint"],
            )
        )
    if len(exp_dirs) > 1:
        names = ["experiment"] + [str(exp_dir) for exp_dir, _, _ in find_summaries(exp_dirs)]
        rows = [(name, *row) for name, row in zip(names, rows)]
    return format_table(rows)


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True
