"""Kaldi data directories: the programs behind utils/*_data_dir.sh, with the command lines of Kaldi's.

Known files: wav.scp segments text utt2spk spk2utt spk2gender feats.scp cmvn.scp vad.scp utt2lang utt2uniq utt2dur
utt2num_frames reco2dur reco2file_and_channel frame_shift. What a program replaces is kept in DIR/.backup.
"""

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rnnt.cli import program
from rnnt.errors import UserError, counted
from rnnt.options import Parser

if TYPE_CHECKING:
    from rnnt.prepare.kaldi_dir.tables import DataDir

HOW = ("first", "last", "shortest", "speakers", "per-spk")
DEMANDS = {
    "no-text": "text may be absent",
    "no-feats": "feats.scp may be absent",
    "no-wav": "wav.scp may be absent",
    "no-spk-sort": "utterances need not be sorted by speakers",
    "non-print": "texts may have characters that can't be seen",
}


def validate(args: argparse.Namespace) -> None:
    """validate_data_dir.sh DIR"""
    from rnnt.prepare.kaldi_dir.tables import read_dir

    check(args.prog, read_dir(args.dir), args)
    print(f"{args.prog}: Successfully validated data-directory {args.dir}")


def check(prog: str, data: "DataDir", args: argparse.Namespace) -> None:
    """Print what is wrong on stderr, and end with `UserError` if anything is."""
    from rnnt.prepare.kaldi_dir.checks import Demands, problems

    files = [name for name in ("wav.scp", "text", "feats.scp") if not getattr(args, f"no_{name.partition('.')[0]}")]
    found = list(problems(data, Demands(files, not args.no_spk_sort, not args.non_print)))
    for problem in found:
        print(f"{prog}: {problem}", file=sys.stderr)
    if found:
        raise UserError(f"{data.folder}: {counted(len(found), 'problem')}, see above")


def fix(args: argparse.Namespace) -> None:
    """fix_data_dir.sh DIR"""
    from rnnt.prepare.kaldi_dir import changes, tables

    extra = {
        **dict.fromkeys(args.utt_extra_files.split(), tables.UTTERANCE),
        **dict.fromkeys(args.spk_extra_files.split(), tables.SPEAKER),
    }
    data = tables.read_dir(args.dir, extra, repair=True)
    for name, number in data.repeated.items():
        print(f"{args.prog}: {data.folder / name}: left out {counted(number, 'line')} whose keys were there already")
    fixed = changes.fix(data)
    changed = tables.write_dir(args.dir, fixed)
    before, after = len(data.speakers), len(fixed.speakers)
    print(
        f"{args.prog}: kept {f'all {before} utterances.' if before == after else f'{after} utterances out of {before}'}"
    )
    if changed:
        print(f"{args.prog}: old files are kept in {Path(args.dir) / '.backup'}")


def subset(args: argparse.Namespace) -> None:
    """subset_data_dir.sh [--first|...] SRC N DEST, or --utt-list FILE or --spk-list FILE SRC DEST"""
    from rnnt.prepare.kaldi_dir import changes, tables

    lists = args.utt_list or args.spk_list
    if len(args.words) != (2 if lists else 3):
        args.parser.error("expected SRC DEST after a list, SRC N DEST without one")
    source, *number, out = args.words
    if number and not (number[0].isascii() and number[0].isdigit() and int(number[0])):
        args.parser.error(f"the number of utterances is {number[0]!r}")
    refuse_same(source, out)
    data = changes.for_elsewhere(tables.read_dir(source))
    if lists:
        chosen = changes.listed(data, lists, tables.UTTERANCE if args.utt_list else tables.SPEAKER)
    else:
        chosen = changes.choose(data, int(number[0]), args.how or "")
    tables.write_dir(out, data.keep(chosen))
    print(f"{args.prog}: reducing #utt from {len(data.speakers)} to {len(chosen)}")


def combine(args: argparse.Namespace) -> None:
    """combine_data.sh DEST SRC1 SRC2 ..."""
    from rnnt.prepare.kaldi_dir import changes, tables

    extra = dict.fromkeys(args.extra_files.split(), tables.UTTERANCE)
    for source in args.sources:
        refuse_same(source, args.dest)
    data, left_out = changes.combine([changes.for_elsewhere(tables.read_dir(source, extra)) for source in args.sources])
    for name in left_out:
        print(f"{args.prog}: {name} is left out: not all of the directories have it")
    fixed = data if args.skip_fix == "true" else changes.fix(data)
    tables.write_dir(args.dest, fixed)
    if len(fixed.speakers) < len(data.speakers):
        print(f"{args.prog}: kept {len(fixed.speakers)} utterances out of {len(data.speakers)}")
    print(f"{args.prog}: {args.dest}: {tables.report(fixed)}")


def copy(args: argparse.Namespace) -> None:
    """copy_data_dir.sh [--utt-prefix P ...] SRC DEST"""
    from rnnt.prepare.kaldi_dir import changes, tables

    refuse_same(args.source, args.dest)
    data = changes.for_elsewhere(tables.read_dir(args.source))
    new = changes.Renaming(args.utt_prefix, args.utt_suffix, args.spk_prefix, args.spk_suffix)
    copied = changes.rename(data, new)
    # What the source does not have is not missed in the copy.
    absent = [f"--no-{name}" for name in ("text", "feats", "wav") if not {name, f"{name}.scp"} & copied.tables.keys()]
    parser = Parser(prog=f"{args.prog} --validate-opts", allow_abbrev=False)
    add_demands(parser)
    check(args.prog, copied, parser.parse_args([*absent, *shlex.split(args.validate_opts)]))
    tables.write_dir(args.dest, copied)
    print(f"{args.prog}: copied data from {args.source} to {args.dest}")


def convert(args: argparse.Namespace) -> None:
    """utt2spk_to_spk2utt.pl, spk2utt_to_utt2spk.pl [FILE]"""
    from rnnt.prepare.kaldi_dir import tables

    change = tables.spk2utt if args.prog.startswith("utt2spk") else tables.utt2spk
    print(end=tables.format_table(change(tables.read_table(args.file))))


def refuse_same(source: str, out: str) -> None:
    """Raise `UserError` when a directory would be written over itself."""
    if Path(source).resolve() == Path(out).resolve():
        raise UserError(f"{out}: is both read and written; give another directory to write")


def add_demands(parser: argparse.ArgumentParser) -> None:
    """Add the options of validate_data_dir.sh."""
    for name, text in DEMANDS.items():
        parser.add_argument(f"--{name}", action="store_true", help=text)


def make_parser() -> argparse.ArgumentParser:
    """The parser of `PROGRAM ...`, one of them for each program."""
    parser = Parser(description=__doc__, allow_abbrev=False)
    programs = parser.add_subparsers(metavar="PROGRAM", required=True)

    def add(name: str, run: object, text: str) -> argparse.ArgumentParser:
        added = programs.add_parser(name, prog=name, help=text, description=text, allow_abbrev=False)
        added.set_defaults(run=run, prog=name, parser=added)
        return added

    one = add("validate_data_dir.sh", validate, "check a data directory; status 1 and the problems if there are any")
    add_demands(one)
    one.add_argument("dir", metavar="DIR")

    one = add("fix_data_dir.sh", fix, "sort the files, and keep the utterances that all of them have")
    one.add_argument("--utt-extra-files", metavar="NAMES", default="", help="further files whose keys are utterances")
    one.add_argument("--spk-extra-files", metavar="NAMES", default="", help="further files whose keys are speakers")
    one.add_argument("dir", metavar="DIR")

    one = add("subset_data_dir.sh", subset, "a part of a data directory: by default N utterances, evenly spread")
    ways = one.add_mutually_exclusive_group()
    for how, text in zip(HOW, ("the first N", "the last N", "the shortest N", "of whole speakers, N or somewhat more",
                               "N of each speaker, or all of them")):  # fmt: skip
        ways.add_argument(f"--{how}", dest="how", action="store_const", const=how.replace("-", "_"), help=text)
    ways.add_argument("--utt-list", metavar="FILE", help="the utterances that begin the lines of a file")
    ways.add_argument("--spk-list", metavar="FILE", help="all of the speakers that begin the lines of a file")
    one.add_argument("words", nargs="+", metavar="SRC [N] DEST")

    one = add("combine_data.sh", combine, "the utterances of several data directories in one")
    one.add_argument("--extra-files", metavar="NAMES", default="", help="further files whose keys are utterances")
    one.add_argument(
        "--skip-fix", choices=("true", "false"), default="false", help="don't do what fix_data_dir.sh does"
    )
    one.add_argument("dest", metavar="DEST")
    one.add_argument("sources", metavar="SRC", nargs="+")

    one = add("copy_data_dir.sh", copy, "a copy of a data directory, with prefixes and suffixes of ids")
    for name in ("utt-prefix", "utt-suffix", "spk-prefix", "spk-suffix"):
        one.add_argument(f"--{name}", metavar="TEXT", default="", help=f"{name[4:]} of each {name[:3]} id")
    one.add_argument("--validate-opts", metavar="TEXT", default="", help="options of validate_data_dir.sh for the copy")
    one.add_argument("source", metavar="SRC")
    one.add_argument("dest", metavar="DEST")

    for name, text in (
        ("utt2spk_to_spk2utt.pl", "the utterances of each speaker, from lines `utterance speaker`"),
        ("spk2utt_to_utt2spk.pl", "the speaker of each utterance, from lines `speaker utterance ...`"),
    ):
        one = add(name, convert, text)
        one.add_argument("file", metavar="FILE", nargs="?", default="/dev/stdin", help="standard input by default")
    return parser


# Their values may begin with a dash.
VALUES = {"--validate-opts", "--utt-prefix", "--utt-suffix", "--spk-prefix", "--spk-suffix"}


def joined(argv: list[str]) -> list[str]:
    """The words of a command line, with `--validate-opts --no-text` and the like as one word."""
    words: list[str] = []
    for word in argv:
        if words and words[-1] in VALUES and word.startswith("-"):
            words[-1] += f"={word}"
        else:
            words.append(word)
    return words


@program
def main(argv: list[str] | None = None) -> None:
    args = make_parser().parse_args(joined(sys.argv[1:] if argv is None else argv))
    args.run(args)


if __name__ == "__main__":
    sys.argv[0] = (sys.argv[1:] or sys.argv)[0]  # messages name the program that the user called
    main()
