"""Show how trainings go: one HTML page with curves and words.

    report.py EXP_DIR...    writes EXP_DIR/report.html; of several experiments the curves lie over each other

The page is made from training.jsonl and epochs.jsonl of the experiments, at any time, also while they run.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rnnt.cli import program
from rnnt.files import atomic_write
from rnnt.options import Parser


def make_parser() -> argparse.ArgumentParser:
    """The parser; it loads nothing heavy."""
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument("exp_dirs", metavar="EXP_DIR", nargs="+", help="experiment folder")
    parser.add_argument("--out", metavar="FILE", help="page to write (default: report.html of the first experiment)")
    parser.add_argument("--png", metavar="FOLDER", help="write the curves as pictures too, FOLDER/wer.png and so on")
    return parser


@program
def main(argv: Sequence[str] | None = None) -> None:
    """Write the page."""
    args = make_parser().parse_args(argv)

    from rnnt.reporting.history import read_history
    from rnnt.reporting.page import page
    from rnnt.reporting.plots import pictures, plots
    from rnnt.reporting.verdict import judge

    histories = [read_history(folder) for folder in args.exp_dirs]
    names = [history.name for history in histories]
    for history, folder in zip(histories, args.exp_dirs):
        if names.count(history.name) > 1:
            history.name = folder
        print(f"{history.name}: {judge(history).text}")
    path = Path(args.out or Path(args.exp_dirs[0]) / "report.html")
    with atomic_write(path) as file:
        file.write(page(histories))
    print(path)
    if args.png:
        Path(args.png).mkdir(parents=True, exist_ok=True)
        for path in pictures(plots(histories), Path(args.png)):
            print(path)


if __name__ == "__main__":
    main()
