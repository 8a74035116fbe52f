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
from hashlib import sha256
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


def parse_hold_out(value, sets):
    """`(new set, set, number of speakers)` of `NAME=SET:N`."""
    match = re.fullmatch(r"([^=/:]+)=([^:]+):([1-9]\d*)", value)
    if not match:
        raise UserError(f"--hold-out: {value!r} is not NAME=SET:N, such as dev=train:12")
    new, old, number = match.groups()
    if new in sets or old not in sets:
        raise UserError(f"--hold-out {value}: {new} must be a new set and {old} one of --sets ({' '.join(sets)})")
    return new, old, int(number)


def hold_out(recordings, supervisions, number):
    """Part off `number` speakers: `((recordings, supervisions) of the others, the same of them)`.

    Which ones follows from their names alone. Raises `UserError` when too few utterances would be left, or a
    recording holds speakers of both sides.
    """
    speakers = sorted({s.speaker for s in supervisions if s.speaker}, key=lambda s: sha256(s.encode()).digest())
    if len(speakers) <= number:
        raise UserError(f"--hold-out: {number} speakers are asked for and the set has {len(speakers)}")
    chosen = set(speakers[:number])
    parts = [], []
    for supervision in supervisions:
        parts[supervision.speaker in chosen].append(supervision)
    ids = [{s.recording_id for s in part} for part in parts]
    if ids[0] & ids[1]:
        raise UserError(
            f"--hold-out: recording {min(ids[0] & ids[1])} holds speakers of both sets; name a set of its own"
        )
    return [([r for r in recordings if r.id in wanted], part) for wanted, part in zip(ids, parts, strict=True)]


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
            for what, old, new in zip(("recording", "utterance"), (recordings, supervisions), more):
                clash = {item.id for item in old} & {item.id for item in new}
                if clash:
                    raise UserError(f"{path}: {what} {min(clash)} is already in another source of {name}")
            recordings += more[0]
            supervisions += more[1]
    if options.hold_out:
        new, old, number = parse_hold_out(options.hold_out, sets)
        manifests[old], manifests[new] = hold_out(*manifests[old], number)
    for name, (recordings, supervisions) in manifests.items():
        write_manifests(options.out, name, recordings, supervisions)
    write_set_names(options.out, manifests)


if __name__ == "__main__":
    main()
