"""Corpora in one file: tab-separated values with a header, JSON lines, and lhotse's own manifests."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnt.data.lines import check_item, parse_line
from rnnt.data.manifest import open_lines
from rnnt.data.sources import check_sources, command_of, relative_paths
from rnnt.errors import UserError, one_line
from rnnt.prepare.records import UtteranceRecord, parse_seconds, resolve
from rnnt.text.lines import read_lines

if TYPE_CHECKING:
    from rnnt.prepare.corpus import CorpusBuilder

COLUMNS = ("audio", "text", "id", "speaker", "start", "end")


def read_tsv(path: Path, database: sqlite3.Connection) -> Iterator[UtteranceRecord]:
    """Yield the utterances (`UtteranceRecord`) of a tab-separated file whose first line names the columns.

    The rows are held in `database`, a `sqlite3.Connection`. Raises `UserError` naming file and line.
    """
    return _to_records(_tsv_rows(path), path, database)


def read_jsonl(path: Path, database: sqlite3.Connection) -> Iterator[UtteranceRecord]:
    """Yield the `UtteranceRecord`s of a file of one JSON object per line, with the keys `COLUMNS`; as `read_tsv`."""
    return _to_records(_jsonl_rows(path), path, database)


def _tsv_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    lines = read_lines(path)
    location, header = next(lines, (str(path), ""))
    columns = header.split("\t")
    if not {"audio", "text"} <= set(columns) or len(columns) > len(set(columns)):
        raise UserError(
            f"{location}: the first line names the columns, each once: audio and text, and perhaps "
            f"{', '.join(COLUMNS[2:])}"
        )
    for location, line in lines:
        values = line.split("\t")
        if len(values) != len(columns):
            raise UserError(
                f"{location}: {len(values)} columns, the first line has {len(columns)}; separate them by tabs"
            )
        yield location, dict(zip(columns, values))


def _jsonl_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for location, line in read_lines(path):
        try:
            row = parse_line(line)
        except ValueError as error:
            raise UserError(f"{location}: not JSON ({one_line(error)}); write one object per line") from None
        if not isinstance(row, dict) or not {"audio", "text"} <= set(row):
            raise UserError(f"{location}: expected an object with at least the keys audio and text")
        yield location, row


def _to_records(
    rows: Iterable[tuple[str, dict[str, Any]]], path: Path, database: sqlite3.Connection
) -> Iterator[UtteranceRecord]:
    """Records of `rows`, pairs of FILE:LINE and a dictionary. One without id is named after its audio file."""
    database.executescript(
        "DROP TABLE IF EXISTS audio; DROP TABLE IF EXISTS line;"
        "CREATE TABLE audio (path UNIQUE, recording UNIQUE, uses);"
        "CREATE TABLE line (location, audio, text, id, speaker, first, last);"
    )
    for location, row in rows:
        audio = _note_audio(resolve(_text(row, "audio", location), Path(path).parent, location), database)
        start, end = row.get("start"), row.get("end")
        values = (
            location,
            audio,
            _text(row, "text", location),
            _text(row, "id", location) or None,
            _text(row, "speaker", location) or None,
            0.0 if start in (None, "") else parse_seconds(start, location, "start"),
            None if end in (None, "") else parse_seconds(end, location, "end"),
        )
        database.execute("INSERT INTO line VALUES (?, ?, ?, ?, ?, ?, ?)", values)
    found = database.execute(
        "SELECT line.rowid, location, audio.path, recording, uses, text, id, speaker, first, last "
        "FROM line CROSS JOIN audio ON audio.path = line.audio ORDER BY line.rowid"
    )
    number = 0
    for number, location, audio, recording, uses, text, name, speaker, start, end in found:
        name = name or (recording if uses == 1 else f"{recording}-{number:06d}")
        yield UtteranceRecord(name, recording, audio, text, location, speaker, start, end)
    if not number:
        raise UserError(f"{path}: the file holds no utterance")


def _text(row: dict[str, Any], name: str, location: str) -> str:
    """A value that is a text: a whole number of JSON is its digits, null and a missing one are empty."""
    value = row.get(name)
    if value is None:
        return ""
    if isinstance(value, str) or type(value) is int:
        return str(value)
    raise UserError(f"{location}: {name} is {json.dumps(value)[:80]}; write it as a string, in double quotes")


def _note_audio(audio: str, database: sqlite3.Connection) -> str:
    """Count a use of an audio file, name its recording, and return the file."""
    if not database.execute("UPDATE audio SET uses = uses + 1 WHERE path = ?", (audio,)).rowcount:
        # Files of the same name in several folders differ by a number.
        name = stem = Path(audio).stem
        (number,) = database.execute("SELECT MAX(rowid) FROM audio").fetchone()
        while database.execute("SELECT 1 FROM audio WHERE recording = ?", (name,)).fetchone():
            name, number = f"{stem}-{number}", number + 1
        database.execute("INSERT INTO audio VALUES (?, ?, 1)", (audio, name))
    return audio


def first_object(path: Path) -> dict[str, Any]:
    """The first JSON object of a file of JSON lines, compressed or not."""
    try:
        with open_lines(path) as file:
            value = parse_line(file.readline())
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise UserError(f"{path}:1: not a JSON object ({one_line(error)})") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}:1: not a JSON object")
    return value


def add_lhotse(builder: CorpusBuilder, name: str, path: Path, allow_pipes: bool = False) -> None:
    """Add a lhotse manifest of cuts, or of recordings or supervisions, to the set `name` of a `CorpusBuilder`.

    Recordings and supervisions stand side by side in files whose names differ in that word only. Raises `UserError`
    naming file and line, also on a recording that is the output of a command unless `allow_pipes`.
    """
    from lhotse import Recording, SupervisionSegment

    path = Path(path)
    if str(first_object(path).get("type")).endswith("Cut"):
        _add_cuts(builder, name, path)
        return
    from rnnt.prepare.corpus import KINDS

    paths = [path.with_name(path.name.replace("supervisions", kind).replace("recordings", kind)) for kind in KINDS]
    if paths[0] == paths[1]:
        raise UserError(f"{path}: call it NAME_recordings.jsonl.gz and put NAME_supervisions.jsonl.gz beside it")
    for other in paths:
        if not other.is_file():
            raise UserError(f"{other}: no such file; recordings and supervisions stand side by side")
    for location, recording in _lhotse_items(paths[0], Recording, allow_pipes):
        builder.add_recording(name, recording, location)
    for location, supervision in _lhotse_items(paths[1], SupervisionSegment):
        builder.add_supervision(name, supervision, location)


def _add_cuts(builder: CorpusBuilder, name: str, path: Path) -> None:
    from lhotse.cut import Cut

    for location, cut in _lhotse_items(path, Cut):
        parts = [track.cut for track in cut.tracks] if hasattr(cut, "tracks") else [cut]
        for part in parts:
            if not part.supervisions:  # padding, noise
                continue
            if not part.has_recording:
                raise UserError(f"{location}: cut {part.id} has no audio")
            builder.add_recording(name, part.recording, location)
            for supervision in part.supervisions:
                # Their times count from the start of the cut; one that two cuts share occurs twice.
                builder.add_supervision(name, supervision.with_offset(part.start), location, repeated=True)


def _lhotse_items(path: Path, kind: type, allow_pipes: bool = False) -> Iterator[tuple[str, Any]]:
    """Yield `(FILE:LINE, item)` of a manifest of lhotse objects of one class."""
    from lhotse.serialization import deserialize_item

    for number, line in enumerate(_lines_of(path), 1):
        location = f"{path}:{number}"
        try:
            value = check_item(parse_line(line))
            if not (allow_pipes and command_of(value)):
                check_sources(value)
        except (UserError, ValueError) as error:
            raise UserError(f"{location}: {one_line(error)}") from None
        for owner, key in relative_paths(value):
            if key == "source":
                owner[key] = resolve(owner[key], path.parent, f"{location}: {value['id']}")
        try:
            item = deserialize_item(value)
            if not isinstance(item, kind):
                raise TypeError(f"it is a {type(item).__name__}")
        except Exception as error:  # lhotse raises many kinds
            raise UserError(f"{location}: no {kind.__name__} that lhotse reads ({one_line(error)})") from None
        yield location, item


def _lines_of(path: Path) -> Iterator[str | bytes]:
    try:
        with open_lines(path) as file:
            yield from file
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: can't be read ({error})") from None
