"""Stage 1 of a corpus that exists already in some form: makes its manifests, with no code written.

--sets NAME=PATH ...; a name given twice joins two sources. The kind of PATH is seen from it:
  a folder with wav.scp            Kaldi data directory: wav.scp, text, perhaps segments and utt2spk
  *.tsv                            tab-separated, with a header: audio, text, perhaps id, speaker, start, end (seconds)
  *.jsonl with the key audio       JSON lines, the same keys
  any other *.jsonl, *.jsonl.gz    lhotse manifest of cuts, or of recordings with the supervisions beside it

--hold-out dev=train:12 moves 12 speakers of the set train, chosen by a hash of their names, to a new set dev.

Audio (docs/data.md) has any rate and one channel; it is read where it lies and resampled in stage 3. Writes
OUT/<set>_{recordings,supervisions}.jsonl.gz and OUT/sets. Errors name file and line.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rnnt.cli import program
from rnnt.errors import UserError
from rnnt.names import check_set_names
from rnnt.options import make_parser, option, parse
from rnnt.prepare.config import HoldOutOptions

if TYPE_CHECKING:
    from rnnt.prepare.corpus import CorpusBuilder


@dataclass(frozen=True, kw_only=True)
class CorpusOptions(HoldOutOptions):
    """Import."""

    sets: list[str] = option(help="NAME=PATH of each set, such as train=DIR dev=FILE.tsv", nonempty=True)
    audio_dir: str = option("data/audio", "folder for the audio that the commands of --allow-pipes give")
    out: str = option("data/manifests", "folder of the manifests")
    nj: int = option(1, "threads that open the audio", minimum=1, maximum=1024)


def parse_sets(values: list[str]) -> dict[str, list[Path]]:
    """`{name: [paths]}` of words `NAME=PATH`."""
    sets: dict[str, list[Path]] = {}
    for word in values:
        name, equals, path = word.partition("=")
        if not (name and equals and path):
            raise UserError(f"--sets: {word!r} is not NAME=PATH")
        if not os.path.exists(path):
            raise UserError(f"--sets: {path}: no such file or folder")
        sets.setdefault(name, []).append(Path(path))
    check_set_names(sets, "--sets")
    return sets


def add_source(builder: "CorpusBuilder", name: str, path: Path, options: CorpusOptions) -> None:
    """Add one source to the set `name` of a `CorpusBuilder`."""
    from rnnt.prepare import kaldi, tables

    if path.is_dir():
        utterances = kaldi.read_data_dir(path, builder.database, options.allow_pipes)
    elif path.suffix == ".tsv":
        utterances = tables.read_tsv(path, builder.database)
    elif not path.name.endswith((".jsonl", ".jsonl.gz")):
        raise UserError(f"{path}: expected a Kaldi data directory, *.tsv, *.jsonl or *.jsonl.gz")
    elif path.suffix == ".gz" or "audio" not in tables.first_object(path):
        tables.add_lhotse(builder, name, path, options.allow_pipes)
        return
    else:
        utterances = tables.read_jsonl(path, builder.database)
    for utterance in utterances:
        builder.add_utterance(name, utterance)


def parse_hold_out(value: str, sets: dict[str, list[Path]]) -> tuple[str, str, int]:
    """`(new set, set, number of speakers)` of `NAME=SET:N`."""
    match = re.fullmatch(r"([^=/:]+)=([^:]+):([1-9]\d{0,8})", value)
    if not match:
        raise UserError(f"--hold-out: {value!r} is not NAME=SET:N, such as dev=train:12")
    new, old, number = match.groups()
    check_set_names([*sets, new], f"--hold-out {value}")
    if new in sets or old not in sets:
        raise UserError(f"--hold-out {value}: {new} must be a new set and {old} one of --sets ({' '.join(sets)})")
    return new, old, int(number)


@program
def main(argv: list[str] | None = None) -> None:
    (options,), _ = parse(make_parser(__doc__, CorpusOptions), [CorpusOptions], argv)
    from rnnt.prepare.corpus import build_corpus

    sets = parse_sets(options.sets)
    held_out = parse_hold_out(options.hold_out, sets) if options.hold_out else None
    with build_corpus(options.out) as builder:
        for name, paths in sets.items():
            for path in paths:
                add_source(builder, name, path, options)
                if not builder.has_utterances(name):
                    raise UserError(f"{path}: holds no utterance")
        builder.check(options.audio_dir, options.nj)
        if held_out:
            builder.hold_out(*held_out)
        builder.write()


if __name__ == "__main__":
    main()
