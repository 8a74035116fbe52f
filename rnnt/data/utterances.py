"""What an imported corpus says of its utterances, whatever it is written in."""

import io
import subprocess
from dataclasses import dataclass
from pathlib import Path

from rnnt.data.audio import problem_of, write_audio
from rnnt.errors import UserError

TIME_TOLERANCE = 0.02  # seconds; tables round their times


@dataclass(frozen=True, slots=True)
class Spoken:
    """One utterance. Times are in seconds; `end` None: to the end of the recording."""

    id: str
    recording: str  # id of the recording
    audio: str  # path, or a command that ends with |
    text: str
    where: str  # its `FILE:LINE`, for messages
    speaker: str | None = None
    start: float = 0.0
    end: float | None = None
    audio_where: str = ""  # `FILE:LINE` that names the audio, where that is another


def read_lines(path):
    """Yield `(FILE:LINE, line)` of the lines of a UTF-8 text file that are not blank; raises `UserError`."""
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                where = f"{path}:{number}"
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    raise UserError(f"{where}: not UTF-8 ({error.reason}); convert the file with iconv") from None
                if text.strip():
                    yield where, text
    except OSError as error:
        raise UserError(f"{path}: can't read it: {error.strerror}") from None


def parse_seconds(text, where, what):
    """A time in seconds, not negative; raises `UserError`."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = -1.0
    if not 0 <= value < float("inf"):
        raise UserError(f"{where}: {what} is {text!r}; write seconds, such as 1.25")
    return value


def resolve(audio, folder, where):
    """The absolute path of an audio file, named from the working directory, `folder`, or the folder above it."""
    folder = Path(folder)
    for place in (Path(), folder, folder.parent):
        if (place / audio).is_file():
            return str((place / audio).resolve())
    raise UserError(f"{where}: {audio}: no such audio file, neither from here nor from {folder} or the folder above it")


def run_pipe(command, out, where):
    """Run a command that writes audio to its standard output, and keep that as `out` (.flac)."""
    import soundfile

    result = subprocess.run(["bash", "-c", f"set -o pipefail; {command.rstrip()[:-1]}"], capture_output=True)
    if result.returncode:
        words = result.stderr.decode("utf-8", "replace").split()
        raise UserError(f"{where}: the command ended with status {result.returncode}: {' '.join(words)[-300:]}")
    try:
        samples, rate = soundfile.read(io.BytesIO(result.stdout))
    except soundfile.LibsndfileError as error:
        raise UserError(f"{where}: the command wrote no audio that soundfile reads: {error}") from None
    out.parent.mkdir(parents=True, exist_ok=True)
    write_audio(out, samples, rate)
    return str(out.resolve())


def open_recording(key, audio, where, audio_dir):
    """The lhotse `Recording` of a file, or of a command, whose output is kept in `audio_dir`; `where` names it."""
    from lhotse import Recording

    if audio.endswith("|"):
        audio = run_pipe(audio, Path(audio_dir) / f"{key.replace('/', '_')}.flac", where)
    try:
        recording = Recording.from_file(audio, recording_id=key)
    except Exception as error:  # lhotse and the audio libraries raise many kinds
        raise UserError(f"{where}: {audio}: unreadable audio: {problem_of(error)}") from None
    if recording.num_channels != 1:
        raise UserError(f"{where}: {audio}: {recording.num_channels} channels; write one file a channel")
    if not recording.num_samples:
        raise UserError(f"{where}: {audio}: no samples; leave this utterance out")
    return recording


def check_times(where, start, end, duration):
    """Raise `UserError` when start and end, in seconds, are not inside a recording of `duration` seconds."""
    if start < 0 or end > duration + TIME_TOLERANCE or start >= end:
        raise UserError(f"{where} is from {start:g} to {end:g} s; the recording has {duration:g} s")
