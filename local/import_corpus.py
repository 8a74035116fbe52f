"""Stage 1 of a corpus that exists already in some form: makes its manifests, with no code written.

--sets NAME=PATH ...; a name given twice joins two sources. The kind of PATH is seen from it:
  a folder with wav.scp            Kaldi data directory: wav.scp, text, perhaps segments and utt2spk
  *.tsv                            tab-separated, with a header: audio, text, perhaps id, speaker, start, end (seconds)
  *.jsonl with the key audio       JSON lines, the same keys
  any other *.jsonl, *.jsonl.gz    lhotse manifest of cuts, or of recordings with the supervisions beside it

--hold-out dev=train:12 moves 12 speakers of the set train, chosen by a hash of their names, to a new set dev.

Audio is what soundfile reads, of any rate, one channel; it is read where it lies and resampled in stage 3. Writes
OUT/<set>_{recordings,supervisions}.jsonl.gz and OUT/sets. Errors name file and line.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from rnnt.cli import program
from rnnt.errors import UserError
from rnnt.options import make_parser, option, parse


@dataclass(frozen=True)
class ImportOptions:
    """Import."""

    sets: list[str] = option(help="NAME=PATH of each set, such as train=DIR dev=FILE.tsv")
    hold_out: str = option(
        "", "NAME=SET:N makes a set NAME of N speakers of SET, which lose them, such as dev=train:12"
    )
    allow_pipes: bool = option(False, "run the commands in wav.scp, once; their audio is kept in --audio-dir")
    audio_dir: str = option("data/audio", "folder for the audio that commands give")
    out: str = option("data/manifests", "folder of the manifests")
    nj: int = option(1, "threads that open the audio")


def parse_sets(values):
    """`{name: [paths]}` of words `NAME=PATH`."""
    sets = {}
    for word in (word for value in values for word in value.split()):
        name, equals, path = word.partition("=")
        if not (name and equals and path):
            raise UserError(f"--sets: {word!r} is not NAME=PATH")
        if "/" in name:
            raise UserError(f"--sets: the name {name!r} of a set can't hold a slash")
        if not Path(path).exists():
            raise UserError(f"--sets: {path}: no such file or folder")
        sets.setdefault(name, []).append(Path(path))
    if not sets:
        raise UserError("--sets: names no set")
    return sets


def add_source(builder, name, path, options):
    """Add one source to the set `name` of a `CorpusBuilder`."""
    from rnnt.data import kaldi, tables

    if path.is_dir():
        utterances = kaldi.read_folder(path, builder.database, options.allow_pipes)
    elif path.suffix == ".tsv":
        utterances = tables.read_tsv(path, builder.database)
    elif not path.name.endswith((".jsonl", ".jsonl.gz")):
        raise UserError(f"{path}: expected a Kaldi data directory, *.tsv, *.jsonl or *.jsonl.gz")
    elif path.suffix == ".gz" or "audio" not in tables.first_object(path):
        tables.add_lhotse(builder, name, path)
        return
    else:
        utterances = tables.read_jsonl(path, builder.database)
    for spoken in utterances:
        builder.add_utterance(name, spoken)


def parse_hold_out(value, sets):
    """`(new set, set, number of speakers)` of `NAME=SET:N`."""
    match = re.fullmatch(r"([^=/:]+)=([^:]+):([1-9]\d*)", value)
    if not match:
        raise UserError(f"--hold-out: {value!r} is not NAME=SET:N, such as dev=train:12")
    new, old, number = match.groups()
    if new in sets or old not in sets:
        raise UserError(f"--hold-out {value}: {new} must be a new set and {old} one of --sets ({' '.join(sets)})")
    return new, old, int(number)


@program
def main(argv=None):
    (options,), _ = parse(make_parser(__doc__, ImportOptions), [ImportOptions], argv)
    from rnnt.data.corpus import build_corpus

    sets = parse_sets(options.sets)
    with build_corpus(options.out) as builder:
        for name, paths in sets.items():
            for path in paths:
                add_source(builder, name, path, options)
                if not builder.has_utterances(name):
                    raise UserError(f"{path}: holds no utterance")
        builder.check(options.audio_dir, options.nj)
        if options.hold_out:
            builder.hold_out(*parse_hold_out(options.hold_out, sets))
        builder.write()


if __name__ == "__main__":
    main()
