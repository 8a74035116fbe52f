"""Corpora in one file: tab-separated values with a header, JSON lines, and lhotse's own manifests."""

import gzip
import json
from pathlib import Path

from rnnt.data.utterances import Spoken, check_times, parse_seconds, read_lines, resolve
from rnnt.errors import UserError

COLUMNS = ("audio", "text", "id", "speaker", "start", "end")


def read_tsv(path):
    """The utterances (`Spoken`) of a tab-separated file whose first line names the columns."""
    lines = read_lines(path)
    where, header = next(lines, (path, ""))
    columns = header.split("\t")
    if not {"audio", "text"} <= set(columns):
        raise UserError(
            f"{where}: the first line names the columns: audio and text, and perhaps {', '.join(COLUMNS[2:])}"
        )
    rows = []
    for where, line in lines:
        values = line.split("\t")
        if len(values) != len(columns):
            raise UserError(f"{where}: {len(values)} columns, the first line has {len(columns)}; separate them by tabs")
        rows.append((where, dict(zip(columns, values))))
    return _spoken(rows, path)


def read_jsonl(path):
    """The utterances (`Spoken`) of a file of one JSON object a line, with the keys `COLUMNS`."""
    rows = []
    for where, line in read_lines(path):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{where}: not JSON ({error}); write one object a line") from None
        if not isinstance(row, dict) or not {"audio", "text"} <= set(row):
            raise UserError(f"{where}: expected an object with at least the keys audio and text")
        rows.append((where, row))
    return _spoken(rows, path)


def _spoken(rows, path):
    """`rows`: pairs of FILE:LINE and a dictionary. An utterance without id is called after its audio file."""
    folder, out = Path(path).parent, []
    if not rows:
        raise UserError(f"{path}: the file holds no utterance")
    count = {}
    for _, row in rows:
        count[row["audio"]] = count.get(row["audio"], 0) + 1
    recordings = {}
    for number, (where, row) in enumerate(rows, 1):
        audio = resolve(str(row["audio"]), folder, where)
        stem = Path(audio).stem
        # Files of the same name in several folders are kept apart by their number.
        recording = recordings.setdefault(
            audio, stem if stem not in recordings.values() else f"{stem}-{len(recordings)}"
        )
        name = str(row.get("id") or (recording if count[row["audio"]] == 1 else f"{recording}-{number:06d}"))
        start, end = row.get("start"), row.get("end")
        out.append(
            Spoken(
                id=name,
                recording=recording,
                audio=audio,
                text=str(row["text"] or ""),
                where=where,
                speaker=str(row["speaker"]) if row.get("speaker") else None,
                start=0.0 if start in (None, "") else parse_seconds(start, where, "start"),
                end=None if end in (None, "") else parse_seconds(end, where, "end"),
            )
        )
    return out


def first_object(path):
    """The first JSON object of a file of JSON lines, compressed or not."""
    try:
        with (gzip.open if str(path).endswith(".gz") else open)(path, "rt", encoding="utf-8") as file:
            value = json.loads(file.readline())
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{path}: its first line is no JSON object ({error})") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: its first line is no JSON object")
    return value


def read_lhotse(path):
    """`(recordings, supervisions)`, lists of lhotse objects, of a manifest of cuts, recordings or supervisions.

    Recordings and supervisions stand side by side in files whose names differ in that word only. Raises `UserError`
    naming file and line.
    """
    from lhotse import CutSet, RecordingSet, SupervisionSet

    first, path = first_object(path), Path(path)
    try:
        if first.get("type", "").endswith("Cut"):
            recordings, supervisions = CutSet.from_file(path).decompose()[:2]
            if recordings is None or supervisions is None:
                raise UserError(f"{path}: its cuts have no {'audio' if recordings is None else 'supervisions'}")
            recordings, supervisions = list(recordings), list(supervisions)
            # Once taken apart, nothing says which line an item comes from.
            check_lhotse(recordings, supervisions, lambda item, _: f"{path}: {item.id}")
            return recordings, supervisions
        kinds = ("recordings", "supervisions")
        paths = [path.with_name(path.name.replace("supervisions", kind).replace("recordings", kind)) for kind in kinds]
        if paths[0] == paths[1]:
            raise UserError(f"{path}: call it NAME_recordings.jsonl.gz and put NAME_supervisions.jsonl.gz beside it")
        for other in paths:
            if not other.is_file():
                raise UserError(f"{other}: no such file; recordings and supervisions stand side by side")
        recordings, supervisions = list(RecordingSet.from_file(paths[0])), list(SupervisionSet.from_file(paths[1]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a manifest that lhotse reads ({' '.join(str(error).split())})") from None
    check_lhotse(
        recordings, supervisions, lambda item, number: f"{paths[hasattr(item, 'recording_id')]}:{number}: {item.id}"
    )
    return recordings, supervisions


def check_lhotse(recordings, supervisions, where):
    """Raise `UserError` on audio that is not there or has several channels, on ids used twice, on times out of range.

    `where(item, number)` names an item, the `number`-th of its kind.
    """
    lengths, seen = {}, set()
    for number, recording in enumerate(recordings, 1):
        if recording.id in lengths:
            raise UserError(f"{where(recording, number)}: this recording is there twice; remove one")
        lengths[recording.id] = recording.duration
        if recording.num_channels != 1:
            raise UserError(f"{where(recording, number)}: {recording.num_channels} channels; write one file a channel")
        for source in recording.sources:
            if source.type == "file" and not Path(source.source).is_file():
                raise UserError(f"{where(recording, number)}: {source.source}: no such audio file")
    for number, supervision in enumerate(supervisions, 1):
        place = where(supervision, number)
        if supervision.id in seen:
            raise UserError(f"{place}: this utterance is there twice; remove one")
        seen.add(supervision.id)
        if supervision.recording_id not in lengths:
            raise UserError(f"{place}: recording {supervision.recording_id} is not among the recordings")
        check_times(place, supervision.start, supervision.end, lengths[supervision.recording_id])
