"""What an imported corpus says of its utterances, whatever it is written in."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from rnnt.data.audio import write_audio
from rnnt.data.sets.commands import run_command
from rnnt.data.sound import AudioError
from rnnt.errors import UserError, one_line, printable
from rnnt.names import file_name

if TYPE_CHECKING:
    from lhotse import Recording

    from rnnt.data.sound.audio_file import AudioFile

ROUNDING_OF_TABLES = 0.02  # seconds; tables round their times
LONGEST = 1e9  # seconds of a recording
MISMATCH = 0.01  # seconds; lhotse reads no recording that has other audio than this about its end


@dataclass(frozen=True, slots=True)
class UtteranceRecord:
    """One utterance. Times are in seconds; `end` None: to the end of the recording."""

    id: str
    recording: str  # id of the recording
    audio: str  # path, or a command that ends with |
    text: str
    location: str  # its `FILE:LINE`, for messages
    speaker: str | None = None
    start: float = 0.0
    end: float | None = None
    audio_location: str = ""  # `FILE:LINE` that names the audio, where that is another


def parse_seconds(text: Any, location: str, what: str) -> float:
    """A time in seconds, not negative; raises `UserError`."""
    try:
        value = -1.0 if isinstance(text, bool) else float(text)
    except (TypeError, ValueError, OverflowError):
        value = -1.0
    if not 0 <= value < LONGEST:
        raise UserError(f"{location}: {what} is {one_line(repr(text), 80)}; write seconds, such as 1.25")
    return value


def resolve(audio: str, folder: str | Path, location: str) -> str:
    """The absolute path of an audio file, named from the working directory, `folder`, or the folder above it."""
    folder = Path(folder)
    for start in (Path(), folder, folder.parent):
        if os.path.isfile(start / audio):  # Path.is_file raises where a name is too long
            return utf8_path((start / audio).resolve(), location)
    raise UserError(
        f"{location}: {one_line(audio)}: no such audio file, neither from here nor from {folder} or the folder above it"
    )


def utf8_path(path: Path, location: str) -> str:
    """The path as it stands in manifests. Raises `UserError` where it is not UTF-8."""
    name = printable(path)
    if name != str(path):
        raise UserError(f"{location}: {name}: the path is not UTF-8; rename it")
    return name


def run_pipe(command: str, out: Path, location: str) -> str:
    """Run a command that writes audio to its standard output, keep that as `out` (.flac), and return its path."""
    import numpy as np

    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=out.parent) as output:
        run_command(command.rstrip()[:-1], output, location)
        output.seek(0)
        with open_audio(cast("BinaryIO", output), f"{location}: the output of the command") as file:
            blocks, rate = list(file.blocks()), file.sampling_rate
    if not blocks:
        raise UserError(f"{location}: the output of the command: no samples; leave this utterance out")
    write_audio(out, np.concatenate(blocks), rate)
    return str(out.resolve())


@contextmanager
def open_audio(source: str | Path | BinaryIO, name: str) -> Iterator[AudioFile]:
    """Yield the open `AudioFile`; what is wrong with it becomes a `UserError` that begins with `name`."""
    from rnnt.data.sound.audio_file import AudioFile

    try:
        with AudioFile(source) as file:
            yield file
    except AudioError as error:
        raise UserError(f"{name}: {error}") from None


def open_recording(key: str, audio: str, location: str, audio_dir: str | Path) -> Recording:
    """The lhotse `Recording` of a file, or of a command, whose output is kept in `audio_dir`; `location` names it."""
    if audio.endswith("|"):
        audio = run_pipe(audio, Path(audio_dir) / f"{file_name(key)}.flac", location)
    with open_audio(audio, f"{location}: {audio}") as file:
        return recording_of(file, key, audio)


def recording_of(file: AudioFile, key: str, path: str | Path) -> Recording:
    """The lhotse `Recording` of an open file. Raises `AudioError` unless it has one channel and samples."""
    from lhotse import AudioSource, Recording

    if file.num_channels != 1:
        raise AudioError(f"{file.num_channels} channels; write one file per channel")
    if not file.num_samples:
        raise AudioError("no samples; leave it out")
    return Recording(key, [AudioSource("file", [0], str(path))], file.sampling_rate, file.num_samples, file.seconds)


def check_recording(recording: Recording, location: str) -> None:
    """Raise `UserError` when a lhotse `Recording` contradicts its audio files, or they can't be read."""
    rate, seconds = recording.sampling_rate, recording.duration
    for transform in reversed([t if isinstance(t, dict) else t.to_dict() for t in recording.transforms or []]):
        values = transform["kwargs"]
        if transform["name"] == "Resample":
            rate = values["source_sampling_rate"]
        elif transform["name"] in ("Speed", "Tempo"):
            seconds *= values["factor"]
    for source in recording.sources:
        if source.type != "file":
            continue
        with open_audio(source.source, f"{location}: {recording.id}: {source.source}") as file:
            for what, claimed, found, tolerance in (
                ("samples/s", rate, file.sampling_rate, 0),
                ("channels", len(source.channels), file.num_channels, 0),
                ("s", seconds, file.seconds, MISMATCH),
            ):
                if abs(claimed - found) > tolerance:
                    raise AudioError(f"{found:g} {what}, by the manifest {claimed:g}; make the manifest from this file")


def shuffled(names: Iterable[str]) -> list[str]:
    """The names in an order without pattern that follows from the names alone."""
    return sorted(names, key=lambda name: sha256(name.encode()).digest())


def check_times(location: str, start: float, end: float, duration: float) -> None:
    """Raise `UserError` when start and end, in seconds, are not inside a recording of `duration` seconds."""
    if start < 0 or end > duration + ROUNDING_OF_TABLES or start >= end:
        raise UserError(f"{location} is from {start:g} to {end:g} s; the recording has {duration:g} s")
