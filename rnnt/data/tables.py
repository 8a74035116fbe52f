"""Corpora in one file: tab-separated values with a header, JSON lines, and lhotse's own manifests."""

import json
import zlib
from pathlib import Path

from rnnt.data.manifest import open_lines
from rnnt.data.utterances import Spoken, parse_seconds, read_lines, resolve
from rnnt.errors import UserError

COLUMNS = ("audio", "text", "id", "speaker", "start", "end")


def read_tsv(path, database):
    """Yield the utterances (`Spoken`) of a tab-separated file whose first line names the columns.

    The rows are held in `database`, a `sqlite3.Connection`. Raises `UserError` naming file and line.
    """
    return _spoken(_tsv_rows(path), path, database)


def read_jsonl(path, database):
    """Yield the utterances (`Spoken`) of a file of one JSON object a line, with the keys `COLUMNS`; as `read_tsv`."""
    return _spoken(_jsonl_rows(path), path, database)


def _tsv_rows(path):
    lines = read_lines(path)
    where, header = next(lines, (path, ""))
    columns = header.split("\t")
    if not {"audio", "text"} <= set(columns):
        raise UserError(
            f"{where}: the first line names the columns: audio and text, and perhaps {', '.join(COLUMNS[2:])}"
        )
    for where, line in lines:
        values = line.split("\t")
        if len(values) != len(columns):
            raise UserError(f"{where}: {len(values)} columns, the first line has {len(columns)}; separate them by tabs")
        yield where, dict(zip(columns, values))


def _jsonl_rows(path):
    for where, line in read_lines(path):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{where}: not JSON ({error}); write one object a line") from None
        if not isinstance(row, dict) or not {"audio", "text"} <= set(row):
            raise UserError(f"{where}: expected an object with at least the keys audio and text")
        yield where, row


def _spoken(rows, path, database):
    """`rows`: pairs of FILE:LINE and a dictionary. An utterance without id is called after its audio file."""
    database.executescript(
        "DROP TABLE IF EXISTS audio; DROP TABLE IF EXISTS line;"
        "CREATE TABLE audio (path UNIQUE, recording UNIQUE, uses);"
        "CREATE TABLE line (place, audio, text, id, speaker, first, last);"
    )
    for where, row in rows:
        audio = _note_audio(resolve(str(row["audio"]), Path(path).parent, where), database)
        start, end = row.get("start"), row.get("end")
        values = (
            where,
            audio,
            str(row["text"] or ""),
            str(row.get("id") or "") or None,
            str(row.get("speaker") or "") or None,
            0.0 if start in (None, "") else parse_seconds(start, where, "start"),
            None if end in (None, "") else parse_seconds(end, where, "end"),
        )
        database.execute("INSERT INTO line VALUES (?, ?, ?, ?, ?, ?, ?)", values)
    found = database.execute(
        "SELECT line.rowid, place, audio.path, recording, uses, text, id, speaker, first, last "
        "FROM line CROSS JOIN audio ON audio.path = line.audio ORDER BY line.rowid"
    )
    number = 0
    for number, where, audio, recording, uses, text, name, speaker, start, end in found:
        name = name or (recording if uses == 1 else f"{recording}-{number:06d}")
        yield Spoken(name, recording, audio, text, where, speaker, start, end)
    if not number:
        raise UserError(f"{path}: the file holds no utterance")


def _note_audio(audio, database):
    """Count a use of an audio file, and name its recording. Returns the file."""
    if not database.execute("UPDATE audio SET uses = uses + 1 WHERE path = ?", (audio,)).rowcount:
        stem = Path(audio).stem
        if database.execute("SELECT 1 FROM audio WHERE recording = ?", (stem,)).fetchone():
            # Files of the same name in several folders are kept apart by their number.
            (files,) = database.execute("SELECT COUNT(*) FROM audio").fetchone()
            stem = f"{stem}-{files}"
        database.execute("INSERT INTO audio VALUES (?, ?, 1)", (audio, stem))
    return audio


def first_object(path):
    """The first JSON object of a file of JSON lines, compressed or not."""
    try:
        with open_lines(path) as file:
            value = json.loads(file.readline())
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{path}: its first line is no JSON object ({error})") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: its first line is no JSON object")
    return value


def add_lhotse(builder, name, path):
    """Add a lhotse manifest of cuts, or of recordings or supervisions, to the set `name` of a `CorpusBuilder`.

    Recordings and supervisions stand side by side in files whose names differ in that word only. Raises `UserError`
    naming file and line.
    """
    from lhotse import Recording, SupervisionSegment

    path = Path(path)
    if first_object(path).get("type", "").endswith("Cut"):
        _add_cuts(builder, name, path)
        return
    kinds = ("recordings", "supervisions")
    paths = [path.with_name(path.name.replace("supervisions", kind).replace("recordings", kind)) for kind in kinds]
    if paths[0] == paths[1]:
        raise UserError(f"{path}: call it NAME_recordings.jsonl.gz and put NAME_supervisions.jsonl.gz beside it")
    for other in paths:
        if not other.is_file():
            raise UserError(f"{other}: no such file; recordings and supervisions stand side by side")
    for where, recording in _lhotse_items(paths[0], Recording):
        builder.add_recording(name, recording, where)
    for where, supervision in _lhotse_items(paths[1], SupervisionSegment):
        builder.add_supervision(name, supervision, where)


def _add_cuts(builder, name, path):
    from lhotse.cut import Cut

    for where, cut in _lhotse_items(path, Cut):
        parts = [track.cut for track in cut.tracks] if hasattr(cut, "tracks") else [cut]
        for part in parts:
            if not part.supervisions:  # padding, noise
                continue
            if not part.has_recording:
                raise UserError(f"{where}: cut {part.id} has no audio")
            builder.add_recording(name, part.recording, where)
            for supervision in part.supervisions:
                # Those of a cut are told from its own start; one that two cuts share is there twice.
                builder.add_supervision(name, supervision.with_offset(part.start), where, repeated=True)


def _lhotse_items(path, kind):
    """Yield `(FILE:LINE, item)` of a manifest of lhotse objects of one class."""
    from lhotse.serialization import deserialize_item

    for number, item in enumerate(_lines_of(path), 1):
        try:
            item = deserialize_item(json.loads(item))
            if not isinstance(item, kind):
                raise TypeError(f"it is a {type(item).__name__}")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            problem = " ".join(str(error).split())
            raise UserError(f"{path}:{number}: no {kind.__name__} that lhotse reads ({problem})") from None
        yield f"{path}:{number}", item


def _lines_of(path):
    try:
        with open_lines(path) as file:
            yield from file
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: can't be read ({error})") from None
