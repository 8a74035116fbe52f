"""Kaldi data directories: wav.scp, segments, text, utt2spk, spk2utt."""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rnnt.errors import UserError
from rnnt.files import atomic_folder
from rnnt.prepare.records import UtteranceRecord, parse_seconds, resolve
from rnnt.text.lines import read_lines

if TYPE_CHECKING:
    from lhotse import Recording, SupervisionSegment


def read_data_dir(
    folder: str | Path, database: sqlite3.Connection, allow_pipes: bool = False
) -> Iterator[UtteranceRecord]:
    """Yield the `UtteranceRecord`s of a Kaldi data directory, in the order of segments, or of wav.scp without it.

    Paths are relative to the working directory, as in Kaldi, or the directory, or the one above it. The files are held
    in `database`, a `sqlite3.Connection`. Raises `UserError` naming file and line, also on a command in wav.scp unless
    `allow_pipes`.
    """
    folder = Path(folder)
    database.execute("DROP TABLE IF EXISTS kaldi")
    database.execute("CREATE TABLE kaldi (file, key, location, value, PRIMARY KEY (file, key))")
    tables = _Tables(folder, database)
    tables.read("wav.scp", lambda location, key, value: _audio(location, value, folder, allow_pipes))
    spans = "segments" if (folder / "segments").is_file() else "wav.scp"
    if spans == "segments":
        tables.read(spans, lambda location, key, value: _checked_span(location, key, value, tables))
    tables.read("text")
    if (folder / "utt2spk").is_file():
        tables.read("utt2spk")
    for name in ("text", "utt2spk"):
        tables.check_same_keys(name, spans)
    rows = database.execute(
        # In the order of the rows as they lie there, which needs no sorting.
        "SELECT s.key, s.location, s.value, t.value, u.value FROM kaldi s NOT INDEXED "
        "CROSS JOIN kaldi t ON t.file = 'text' AND t.key = s.key "
        "LEFT JOIN kaldi u ON u.file = 'utt2spk' AND u.key = s.key "
        "WHERE s.file = ? ORDER BY s.rowid", (spans,),
    )  # fmt: skip
    for key, location, value, text, speaker in rows:
        recording, start, end = parse_span(location, value) if spans == "segments" else (key, 0.0, None)
        audio_location, audio = tables[("wav.scp", recording)]
        yield UtteranceRecord(key, recording, audio, text, location, speaker, start, end, audio_location)


class _Tables:
    """The files of a directory, whose lines are `key value...`, in a database."""

    def __init__(self, folder: Path, database: sqlite3.Connection) -> None:
        self._folder, self._database = folder, database

    def read(self, name: str, parse: Callable[[str, str, str], str] = lambda location, key, value: value) -> None:
        """Read a file; `parse(FILE:LINE, key, rest of the line)` gives what is kept."""
        path, empty = self._folder / name, True
        for location, line in read_lines(path):
            key, *rest = line.split(maxsplit=1)
            value = parse(location, key, rest[0].strip() if rest else "")
            try:
                self._database.execute("INSERT INTO kaldi VALUES (?, ?, ?, ?)", (name, key, location, value))
            except sqlite3.IntegrityError:
                first, _ = self[name, key]
                raise UserError(f"{location}: {key} is already in {first}; each key stands in one line") from None
            empty = False
        if empty and name != "utt2spk":
            raise UserError(f"{path}: the file is empty")

    def __contains__(self, name_and_key: tuple[str, str]) -> bool:
        return self._find(*name_and_key) is not None

    def __getitem__(self, name_and_key: tuple[str, str]) -> tuple[str, str]:
        """`(FILE:LINE, value)` of a key of a file that has it."""
        found = self._find(*name_and_key)
        assert found is not None
        return found

    def _find(self, name: str, key: str) -> tuple[str, str] | None:
        query = "SELECT location, value FROM kaldi WHERE file = ? AND key = ?"
        return self._database.execute(query, (name, key)).fetchone()

    def check_same_keys(self, name: str, spans: str) -> None:
        """Raise `UserError` unless a file, where it is not empty, has the keys of `spans`."""
        without = "SELECT key, location FROM kaldi WHERE file = ? AND key NOT IN (SELECT key FROM kaldi WHERE file = ?)"
        for key, location in self._database.execute(f"{without} ORDER BY rowid LIMIT 1", (name, spans)):
            raise UserError(f"{location}: {key} is not in {self._folder / spans}; remove the line from {name}")
        if self._database.execute("SELECT 1 FROM kaldi WHERE file = ?", (name,)).fetchone():
            for key, location in self._database.execute(f"{without} ORDER BY rowid LIMIT 1", (spans, name)):
                raise UserError(f"{location}: {key} has no line in {self._folder / name}")


def _audio(location: str, value: str, folder: Path, allow_pipes: bool) -> str:
    """The path or command of a line of wav.scp."""
    if value.endswith("|"):
        if not allow_pipes:
            raise UserError(f"{location}: a command; give --allow-pipes true to run the commands of this file")
        return value
    if not value:
        raise UserError(f"{location}: names no audio file")
    return resolve(value, folder, location)


def parse_span(location: str, value: str) -> tuple[str, float, float | None]:
    """`(recording, start, end)` of a line of segments; an end of -1 is the end of the recording."""
    words = value.split()
    if len(words) != 3:
        raise UserError(f"{location}: expected `utterance recording start end`, found {len(words) + 1} words")
    recording, start, end = words
    last = None if float_is(end, -1) else parse_seconds(end, location, "the end")
    return recording, parse_seconds(start, location, "the start"), last


def _checked_span(location: str, key: str, value: str, tables: _Tables) -> str:
    """A line of segments, when it can be read and its recording is there."""
    recording, *_ = parse_span(location, value)
    if ("wav.scp", recording) not in tables:
        raise UserError(f"{location}: recording {recording} of {key} is not in wav.scp")
    return value


def float_is(text: str, value: float) -> bool:
    """Whether a word is this number."""
    try:
        return float(text) == value
    except ValueError:
        return False


def write_data_dir(
    folder: str | Path, recordings: Sequence[Recording], supervisions: Sequence[SupervisionSegment], pipes: bool = True
) -> None:
    """Write lhotse `recordings` and `supervisions` as a Kaldi data directory, sorted by bytes as Kaldi wants it.

    With `pipes`, files that are not WAV become commands of ffmpeg, for Kaldi's own programs read WAV only. `segments`
    is written when an utterance is not all of its recording. Raises `UserError` on audio that is in no file, and on ids
    with blanks.
    """
    by_id = {recording.id: recording for recording in recordings}
    supervisions = sorted(supervisions, key=lambda s: s.id.encode())
    one_each = all(
        s.start == 0 and abs(s.duration - by_id[s.recording_id].duration) < 0.005 and s.id == s.recording_id
        for s in supervisions
    )
    files = {
        "wav.scp": {key: _source(recording, pipes) for key, recording in by_id.items()},
        "text": {s.id: " ".join((s.text or "").split()) for s in supervisions},
        "utt2spk": {s.id: s.speaker or s.id for s in supervisions},
    }
    if not one_each:
        files["segments"] = {s.id: f"{s.recording_id} {s.start:.3f} {s.end:.3f}" for s in supervisions}
    files["spk2utt"] = dict[str, str]()
    for key, speaker in files["utt2spk"].items():
        files["spk2utt"][speaker] = f"{files['spk2utt'].get(speaker, '')} {key}".strip()
    for name, table in files.items():
        bad = next((key for key in table if len(key.split()) != 1), None)
        if bad is not None:
            raise UserError(f"{folder}/{name}: the id {bad!r} has blanks, which Kaldi can't read")
    with atomic_folder(folder) as temporary:
        for name, table in files.items():
            lines = [f"{key} {table[key]}".rstrip() for key in sorted(table, key=str.encode)]
            (temporary / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def _source(recording: Recording, pipes: bool) -> str:
    source = recording.sources[0]
    if source.type != "file" or recording.transforms:
        raise UserError(f"recording {recording.id}: its audio is not a file as it stands; Kaldi can't be given it")
    path = str(Path(source.source).resolve())
    if path.splitlines() != [path] or path.endswith("|"):
        raise UserError(f"recording {recording.id}: {path!r}: Kaldi would take it for more lines, or run it; rename it")
    if pipes and not path.lower().endswith(".wav"):
        return f"ffmpeg -v error -i {shlex.quote(path)} -f wav - |"
    return path
