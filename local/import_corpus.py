"""Stage 1 of a corpus that exists already in some form: makes its manifests, with no code written.

--sets NAME=PATH ...; a name given twice joins two sources. The kind of PATH is seen from it:
  a folder with wav.scp            Kaldi data directory: wav.scp, text, perhaps segments and utt2spk
  *.tsv                            tab-separated, with a header: audio, text, perhaps id, speaker, start, end (seconds)
  *.jsonl with the key audio       JSON lines, the same keys
  any other *.jsonl, *.jsonl.gz    lhotse manifest of cuts, or of recordings with the supervisions beside it

Audio is what soundfile reads, of any rate, one channel; it is read where it lies and resampled in stage 3. Writes
OUT/<set>_{recordings,supervisions}.jsonl.gz and OUT/sets. Errors name file and line.
"""

from dataclasses import dataclass
from pathlib import Path

from rnnt.cli import program
from rnnt.errors import UserError
from rnnt.options import make_parser, option, parse


@dataclass(frozen=True)
class ImportOptions:
    """Import."""

    sets: list[str] = option(help="NAME=PATH of each set, such as train=DIR dev=FILE.tsv")
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


def read_source(path, name, options):
    """The lhotse recordings and supervisions of one source, as lists."""
    from rnnt.data import kaldi, tables
    from rnnt.data.utterances import make_manifests

    if path.is_dir():
        utterances = kaldi.read_folder(path, options.allow_pipes)
    elif path.suffix == ".tsv":
        utterances = tables.read_tsv(path)
    elif path.name.endswith((".jsonl", ".jsonl.gz")):
        if path.suffix == ".gz" or "audio" not in tables.first_object(path):
            return tables.read_lhotse(path)
        utterances = tables.read_jsonl(path)
    else:
        raise UserError(f"{path}: expected a Kaldi data directory, *.tsv, *.jsonl or *.jsonl.gz")
    return make_manifests(utterances, Path(options.audio_dir) / name, options.nj)


@program
def main(argv=None):
    (options,), _ = parse(make_parser(__doc__, ImportOptions), [ImportOptions], argv)
    from rnnt.data.corpus import write_manifests, write_set_names

    sets = parse_sets(options.sets)
    manifests = {}
    for name, paths in sets.items():
        recordings, supervisions = manifests.setdefault(name, ([], []))
        for path in paths:
            more = read_source(path, name, options)
            clash = {item.id for item in recordings} & {item.id for item in more[0]}
            if clash:
                raise UserError(f"{path}: recording {min(clash)} is already in another source of {name}")
            recordings += more[0]
            supervisions += more[1]
    for name, (recordings, supervisions) in manifests.items():
        write_manifests(options.out, name, recordings, supervisions)
    write_set_names(options.out, sets)


if __name__ == "__main__":
    main()
