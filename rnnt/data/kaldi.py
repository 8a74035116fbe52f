"""Kaldi data directories: wav.scp, segments, text, utt2spk, spk2utt."""

import shlex
from pathlib import Path

from rnnt.data.utterances import Spoken, parse_seconds, read_lines, resolve
from rnnt.errors import UserError
from rnnt.files import atomic_folder


def read_table(path, required=True):
    """`{key: (FILE:LINE, rest of the line)}` of a file whose lines are `key value...`; empty where there is none."""
    table = {}
    if not required and not Path(path).is_file():
        return table
    for where, line in read_lines(path):
        key, *rest = line.split(maxsplit=1)
        if key in table:
            raise UserError(f"{where}: {key} is already in {table[key][0]}; each key stands in one line")
        table[key] = (where, rest[0].strip() if rest else "")
    if not table and required:
        raise UserError(f"{path}: the file is empty")
    return table


def read_folder(folder, allow_pipes=False):
    """The utterances (`Spoken`) of a Kaldi data directory.

    Paths are relative to the working directory, as in Kaldi, or the directory, or the one above it. Raises `UserError`
    naming file and line, also on a command in wav.scp unless `allow_pipes`.
    """
    folder = Path(folder)
    audio = {key: _audio(*value, folder, allow_pipes) for key, value in read_table(folder / "wav.scp").items()}
    segments = read_table(folder / "segments", required=False)
    if segments:
        spans = {key: _span(key, *value, audio) for key, value in segments.items()}
    else:
        spans = {key: (key, 0.0, None, where) for key, (where, _) in audio.items()}
    texts, speakers = read_table(folder / "text"), read_table(folder / "utt2spk", required=False)
    for name, table in (("text", texts), ("utt2spk", speakers)):
        for key, (where, _) in table.items():
            if key not in spans:
                known = "segments" if segments else "wav.scp"
                raise UserError(f"{where}: {key} is not in {folder / known}; remove the line from {name}")
        missing = next((key for key in spans if table and key not in table), None)
        if missing:
            raise UserError(f"{spans[missing][3]}: {missing} has no line in {folder / name}")
    return [
        Spoken(
            id=key,
            recording=recording,
            audio=audio[recording][1],
            text=texts[key][1],
            where=where,
            speaker=speakers[key][1] if speakers else None,
            start=start,
            end=end,
            audio_where=audio[recording][0],
        )
        for key, (recording, start, end, where) in spans.items()
    ]


def _audio(where, value, folder, allow_pipes):
    """`(FILE:LINE, path or command)` of a line of wav.scp."""
    if value.endswith("|"):
        if not allow_pipes:
            raise UserError(f"{where}: a command; give --allow-pipes true to run the commands of this file")
        return where, value
    if not value:
        raise UserError(f"{where}: names no audio file")
    return where, resolve(value, folder, where)


def _span(key, where, value, audio):
    """`(recording, start, end, FILE:LINE)` of a line of segments; an end of -1 is the end of the recording."""
    words = value.split()
    if len(words) != 3:
        raise UserError(f"{where}: expected `utterance recording start end`, found {len(words) + 1} words")
    recording, start, end = words
    if recording not in audio:
        raise UserError(f"{where}: recording {recording} of {key} is not in wav.scp")
    last = None if float_is(end, -1) else parse_seconds(end, where, "the end")
    return recording, parse_seconds(start, where, "the start"), last, where


def float_is(text, value):
    """Whether a word is this number."""
    try:
        return float(text) == value
    except ValueError:
        return False


def write_folder(folder, recordings, supervisions, pipes=True):
    """Write lhotse `recordings` and `supervisions` as a Kaldi data directory, sorted by bytes as Kaldi wants it.

    With `pipes`, files that are no WAV become commands of ffmpeg, for Kaldi's own programs read WAV only. `segments` is
    written when an utterance is not the whole of its recording. Raises `UserError` on audio that is in no file, and on
    ids with blanks.
    """
    recordings = {recording.id: recording for recording in recordings}
    supervisions = sorted(supervisions, key=lambda s: s.id.encode())
    whole = all(
        s.start == 0 and abs(s.duration - recordings[s.recording_id].duration) < 0.005 and s.id == s.recording_id
        for s in supervisions
    )
    files = {
        "wav.scp": {key: _source(recording, pipes) for key, recording in recordings.items()},
        "text": {s.id: s.text or "" for s in supervisions},
        "utt2spk": {s.id: s.speaker or s.id for s in supervisions},
    }
    if not whole:
        files["segments"] = {s.id: f"{s.recording_id} {s.start:.3f} {s.end:.3f}" for s in supervisions}
    files["spk2utt"] = {}
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


def _source(recording, pipes):
    source = recording.sources[0]
    if source.type != "file" or recording.transforms:
        raise UserError(f"recording {recording.id}: its audio is not a file as it stands; Kaldi can't be given it")
    path = str(Path(source.source).resolve())
    if pipes and not path.lower().endswith(".wav"):
        return f"ffmpeg -v error -i {shlex.quote(path)} -f wav - |"
    return path
