"""The files of a Kaldi data directory as tables.

Each file of a directory is a table of `key value...` lines, sorted by the bytes of the keys. Keys are utterances,
speakers or recordings; without `segments`, each recording is an utterance. Kaldi's documentation of the format is
"Data preparation" (https://kaldi-asr.org/doc/data_prep.html). `rnnt/prepare/kaldi.py` reads a directory as a corpus.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from rnnt.errors import UserError, counted
from rnnt.files import atomic_write
from rnnt.prepare.kaldi import parse_span
from rnnt.text.lines import read_lines

# What the keys of a file are.
UTTERANCE, SPEAKER, RECORDING = "utterance", "speaker", "recording"
FILES = {
    **dict.fromkeys(("utt2spk", "text", "segments", "feats.scp", "vad.scp", "utt2lang", "utt2uniq"), UTTERANCE),
    **dict.fromkeys(("utt2dur", "utt2num_frames"), UTTERANCE),
    **dict.fromkeys(("spk2utt", "spk2gender", "cmvn.scp"), SPEAKER),
    **dict.fromkeys(("wav.scp", "reco2dur", "reco2file_and_channel"), RECORDING),
}
FRAME_SHIFT = "frame_shift"  # one number, not a table

Table = dict[str, str]


@dataclass(frozen=True)
class DataDir:
    """The files of a data directory.

    Attributes:
        folder: where they lie, for messages.
        tables: `{file: {key: rest of the line}}`, as they stand there.
        kinds: what the keys of each file are.
        frame_shift: contents of `frame_shift`, "" without it.
        repeated: how many lines of a file were left out, for an earlier one has their key.
    """

    folder: Path
    tables: dict[str, Table]
    kinds: Mapping[str, str] = field(default_factory=lambda: FILES)
    frame_shift: str = ""
    repeated: dict[str, int] = field(default_factory=dict)

    @property
    def speakers(self) -> Table:
        """The speaker of each utterance."""
        return self.tables["utt2spk"]

    def keys(self, kind: str, utterances: Collection[str] | None = None) -> set[str]:
        """The utterances, their speakers or their recordings; of all utterances, or of those given."""
        wanted = self.speakers.keys() if utterances is None else utterances
        if kind == SPEAKER:
            return {self.speakers[key] for key in wanted}
        if kind == RECORDING and "segments" in self.tables:
            spans = self.tables["segments"]
            return {self.span(key)[0] for key in wanted if key in spans}
        return set(wanted)

    def span(self, utterance: str) -> tuple[str, float, float | None]:
        """`(recording, start, end)` of a line of segments, in seconds; raises `UserError`."""
        return parse_span(f"{self.folder / 'segments'}: {utterance}", self.tables["segments"][utterance])

    def keep(self, utterances: Iterable[str]) -> DataDir:
        """The directory with these utterances, their speakers and their recordings alone, sorted."""
        chosen = set(utterances)
        wanted = {kind: self.keys(kind, chosen) for kind in (UTTERANCE, SPEAKER, RECORDING)}
        tables = {
            name: {key: table[key] for key in sorted(table) if key in wanted[self.kinds[name]]}
            for name, table in self.tables.items()
        }
        tables["spk2utt"] = spk2utt(tables["utt2spk"])
        return replace(self, tables=tables)


def read_table(path: str | Path, repeated: list[str] | None = None) -> Table:
    """`{key: rest of the line}` of a file, in its order.

    A second line of a key is added to `repeated`, or without that raises `UserError`.
    """
    table: Table = {}
    for location, line in read_lines(path):
        key, *rest = line.split(maxsplit=1)
        if key not in table:
            table[key] = rest[0].strip() if rest else ""
        elif repeated is None:
            raise UserError(f"{location}: {key} is there already; each key has one line; see fix_data_dir.sh")
        else:
            repeated.append(key)
    return table


def read_dir(folder: str | Path, extra: Mapping[str, str] | None = None, repair: bool = False) -> DataDir:
    """The files of a directory that Kaldi knows, and those of `extra`: `{file: kind of its keys}`.

    With `repair` the first of several lines with a key counts. Raises `UserError` on a directory without utt2spk, and
    on lines that can't be read.
    """
    folder, kinds = Path(folder), {**FILES, **(extra or {})}
    if not folder.is_dir():
        raise UserError(f"{folder}: no such directory")
    if not (folder / "utt2spk").is_file():
        raise UserError(f"{folder / 'utt2spk'}: no such file; each line of it is `utterance speaker`")
    tables: dict[str, Table] = {}
    repeated: dict[str, int] = {}
    for name in kinds:
        if (folder / name).is_file():
            again: list[str] = []
            tables[name] = read_table(folder / name, again if repair else None)
            repeated.update({name: len(again)} if again else {})
    for key, speaker in tables["utt2spk"].items():
        if len(speaker.split()) != 1:
            raise UserError(f"{folder / 'utt2spk'}: {key}: expected one speaker, found {speaker!r:.80}")
    shift = folder / FRAME_SHIFT
    frame_shift = shift.read_text(encoding="utf-8", errors="replace").strip() if shift.is_file() else ""
    return DataDir(folder, tables, kinds, frame_shift, repeated)


def write_dir(folder: str | Path, data: DataDir) -> bool:
    """Write the files into a folder; True if any of those there changed.

    Files that change, and those that `data` does not have, go to `folder/.backup`; what Kaldi does not know stays.
    """
    folder, changed = Path(folder), False
    contents = {name: format_table(table) for name, table in data.tables.items()}
    contents.update({FRAME_SHIFT: data.frame_shift + "\n"} if data.frame_shift else {})
    for name in (*data.kinds, FRAME_SHIFT):
        path, new = folder / name, contents.get(name)
        if path.is_file() and path.read_bytes() != (new or "").encode():
            changed = True
            (folder / ".backup").mkdir(exist_ok=True)
            shutil.copy2(path, folder / ".backup" / name)
            if new is None:
                path.unlink()
        if new is not None and not (path.is_file() and path.read_bytes() == new.encode()):
            with atomic_write(path) as file:
                file.write(new)
    return changed


def format_table(table: Table) -> str:
    """The lines of a file, sorted by the bytes of the keys."""
    return "".join(f"{key} {table[key]}".rstrip() + "\n" for key in sorted(table))


def spk2utt(speakers: Table) -> Table:
    """`{speaker: utterances}` of `{utterance: speaker}`."""
    found: dict[str, list[str]] = {}
    for key in sorted(speakers):
        found.setdefault(speakers[key], []).append(key)
    return {speaker: " ".join(keys) for speaker, keys in sorted(found.items())}


def utt2spk(utterances: Table) -> Table:
    """`{utterance: speaker}` of `{speaker: utterances}`."""
    return {key: speaker for speaker, keys in utterances.items() for key in keys.split()}


def report(data: DataDir) -> str:
    """`10 utterances of 2 speakers`."""
    return f"{counted(len(data.speakers), 'utterance')} of {counted(len(data.keys(SPEAKER)), 'speaker')}"
