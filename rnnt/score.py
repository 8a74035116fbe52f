"""Program: score hypotheses, and show the results of decodes.

score.py wer REF HYP       error rate of a hypothesis file against a reference file (sclite trn or Kaldi text)
score.py table EXP_DIR...  one table of all decoded sets: method, set, WER with its errors, real-time factor
"""

import argparse

from rnnt.cli import program
from rnnt.scoring.normalize import STEPS, normalize


def make_parser():
    """The parser; it loads nothing heavy."""
    parser = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    wer = commands.add_parser("wer", help="score a file of hypotheses", allow_abbrev=False)
    wer.add_argument("ref", metavar="REF", help="references, `words (id)` or `id words` a line")
    wer.add_argument("hyp", metavar="HYP", help="hypotheses, in either form")
    wer.add_argument("--unit", choices=["word", "char"], default="word", help="what is counted (default: word)")
    wer.add_argument(
        "--normalize",
        metavar="STEP",
        nargs="+",
        choices=list(STEPS),
        default=[],
        help=f"change both sides first by these steps, in order: {', '.join(STEPS)} (default: none)",
    )
    wer.add_argument("--details", metavar="FILE", help="write confusions and aligned errors of every utterance")
    wer.set_defaults(run=run_wer)
    table = commands.add_parser("table", help="show all decoded sets of experiments", allow_abbrev=False)
    table.add_argument("exp_dirs", metavar="EXP_DIR", nargs="+", help="experiment folder")
    table.set_defaults(run=run_table)
    compare = commands.add_parser(
        "compare",
        help="compare two experiments",
        allow_abbrev=False,
        description="For each set that both experiments decoded by the same method: the difference of the WERs with "
        "its 95 % bootstrap interval, the probability that B is better (both over speakers where five or more are "
        "known), and the p value of the matched-pairs sentence-segment test.",
    )
    compare.add_argument("a", metavar="A", help="experiment folder of the baseline")
    compare.add_argument("b", metavar="B", help="experiment folder of the other system")
    compare.set_defaults(run=run_compare)
    return parser


def run_wer(args):
    """Print Kaldi's summary lines."""
    from rnnt.files import atomic_write
    from rnnt.scoring import score
    from rnnt.scoring.trn import read_texts

    refs, hyps = (
        {key: normalize(text, args.normalize) for key, text in read_texts(path).items()}
        for path in (args.ref, args.hyp)
    )
    report = score(refs, hyps, args.unit)
    if args.details:
        with atomic_write(args.details) as file:
            file.writelines(f"{line}\n" for line in report.error_lines())
    print("\n".join(report.summary_lines()))


def run_table(args):
    """Print the table of results."""
    from rnnt.scoring.table import result_table

    print("\n".join(result_table(args.exp_dirs)))


def run_compare(args):
    """Print the comparison."""
    from rnnt.scoring.table import compare_table

    print("\n".join(compare_table(args.a, args.b)))


@program
def main(argv=None):
    """Run the subcommand."""
    args = make_parser().parse_args(argv)
    args.run(args)


if __name__ == "__main__":
    main()
