"""Tables of results as text."""

from rnnt.errors import UserError
from rnnt.files import read_json
from rnnt.scoring.bootstrap import compare
from rnnt.scoring.folder import decoded_sets, read_folder
from rnnt.scoring.mapsswe import mapsswe

RESULT_HEADER = ("method", "set", "%WER", "%CER", "95%", "S", "D", "I", "words", "RTF", "model")
COMPARE_HEADER = ("method", "set", "A %", "B %", "B-A", "95%", "P(B better)", "MAPSSWE p", "segments")


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
    """Lines of the table of all decoded sets; the experiment is a column when there are several.

    The interval is that of the bootstrap over speakers, or over utterances where fewer than five are known. It and the
    counts are of words, or of the characters that the column `words` then names.
    """
    rows = []
    for exp_dir, folders in zip(exp_dirs, decoded_sets(exp_dirs)):
        for (method, name), folder in folders.items():
            s = read_json(folder / "summary.json")
            numbers = [str(s[key]) for key in ("substitutions", "deletions", "insertions")]
            numbers.append(f"{s['words']}{' chars' if s['unit'] == 'char' else ''}")
            # What an earlier version decoded has no CER.
            cer = f"{s['cer']:.2f}" if "cer" in s else ""
            interval = f"{s['wer_low']:.2f}-{s['wer_high']:.2f}"
            row = [method, name, f"{s['wer']:.2f}", cer, interval, *numbers, f"{s['rtf']:.4f}", s["checkpoint"]]
            rows.append([str(exp_dir), *row])
    header = ["experiment", *RESULT_HEADER]
    return format_table([row[len(exp_dirs) == 1 :] for row in [header, *rows]])


def compare_table(a_dir, b_dir):
    """Lines of the table that compares two experiments on the sets and methods that both have decoded.

    Rates are of words, or of characters where `--unit char` made the results. Raises `UserError`
    when there are none, or when the references differ.
    """
    a_sets, b_sets = decoded_sets([a_dir, b_dir])
    common = [key for key in a_sets if key in b_sets]
    if not common:
        raise UserError(f"{a_dir} and {b_dir} have no set in common that was decoded by the same method; decode it")
    rows = [COMPARE_HEADER]
    for key in common:
        (a, _), (b, _) = read_folder(a_sets[key]), read_folder(b_sets[key])
        if a.refs != b.refs or a.unit != b.unit:
            raise UserError(f"{a_sets[key]} and {b_sets[key]} have different references; decode the same set with both")
        paired, test = compare(a, b), mapsswe(a, b)
        interval = f"{paired.interval.low:+.2f}..{paired.interval.high:+.2f}"
        numbers = f"{a.rate:.2f}", f"{b.rate:.2f}", f"{paired.difference:+.2f}", interval
        rows.append((*key, *numbers, f"{paired.improvement:.3f}", f"{test.p:.4f}", str(test.segments)))
    return format_table(rows)


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True
