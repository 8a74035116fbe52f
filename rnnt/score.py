"""Score hypotheses, and show the results of decodes.

score.py wer REF HYP       error rate of a hypothesis file against a reference file (sclite trn or Kaldi text)
score.py table EXP_DIR...  one table of all decoded sets: method, set, WER with its errors, real-time factor
score.py delay CTM DECODE  how much later than in a CTM file (align.py writes one) the words of a decoded set come
score.py compare A B       difference of two experiments, or of two decodes (EXP/decode_...), on the sets that both
                           have, with interval and test
"""

import argparse
from collections.abc import Sequence

from rnnt.cli import program
from rnnt.options import Parser
from rnnt.scoring.normalize import STEPS


def make_parser() -> argparse.ArgumentParser:
    """The parser; it loads nothing heavy."""
    parser = Parser(description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    wer = commands.add_parser("wer", help="score a file of hypotheses", allow_abbrev=False)
    wer.add_argument("ref", metavar="REF", help="references, one `words (id)` or `id words` per line")
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
    wer.add_argument(
        "--glm", metavar="FILE", help="spelling variants that count as equal, lines of `words => words` (NIST's GLM)"
    )
    wer.add_argument(
        "--other-refs",
        metavar="FILE",
        nargs="+",
        default=[],
        help="further references; of each utterance the one that leaves the fewest errors counts",
    )
    wer.add_argument("--by", metavar="FIELD", help="show the rates by a field of --manifest too, such as speaker")
    wer.add_argument("--manifest", metavar="FILE", help="cuts that have it (data/cuts/SET.jsonl), or utterances.jsonl")
    wer.add_argument("--details", metavar="FILE", help="write confusions and the aligned errors of each utterance")
    table = commands.add_parser("table", help="show all decoded sets of experiments", allow_abbrev=False)
    table.add_argument("exp_dirs", metavar="EXP_DIR", nargs="+", help="experiment folder")
    delay = commands.add_parser("delay", help="compare the times of words", allow_abbrev=False)
    delay.add_argument("ref", metavar="CTM", help="when words were said: words.ctm of align.py, or of another toolkit")
    delay.add_argument("hyp", metavar="HYP", help="CTM file, or decoded set (EXP/decode_.../SET)")
    compare = commands.add_parser(
        "compare",
        help="compare two experiments or decodes",
        allow_abbrev=False,
        description="For each set that both experiments decoded by the same method: the difference of the WERs with "
        "its 95 % bootstrap interval, the probability that B is better (both over speakers where five or more are "
        "known), and the p value of the matched-pairs sentence-segment test.",
    )
    compare.add_argument("a", metavar="A", help="experiment, decode (EXP/decode_...) or decoded set of the baseline")
    compare.add_argument("b", metavar="B", help="the same of the other system")
    compare.add_argument("--html", metavar="FILE", help="write a page with the errors of both side by side, and audio")
    return parser


@program
def main(argv: Sequence[str] | None = None) -> None:
    """Run the subcommand."""
    parser = make_parser()
    args = parser.parse_args(argv)
    if args.command == "wer" and bool(args.by) != bool(args.manifest):
        parser.error("--by and --manifest belong together")

    from rnnt.scoring.run import WerSettings, run_compare, run_delay, run_table, run_wer

    if args.command == "wer":
        settings = WerSettings(
            args.unit, args.normalize, args.glm, args.other_refs, args.details, args.by, args.manifest
        )
        run_wer(args.ref, args.hyp, settings)
    elif args.command == "delay":
        run_delay(args.ref, args.hyp)
    elif args.command == "table":
        run_table(args.exp_dirs)
    else:
        run_compare(args.a, args.b, args.html)


if __name__ == "__main__":
    main()
