"""Transcribes files and writes what was said in them."""

from __future__ import annotations

import glob
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from rnnt.data.sound import audio_files
from rnnt.errors import UserError, counted
from rnnt.files import atomic_write
from rnnt.progress import progress
from rnnt.transcription.audio import Audio, MemoryAudio, open_audio
from rnnt.transcription.formats import FORMATS
from rnnt.transcription.live import LiveTranscription, choose_chunks_of, streaming_of
from rnnt.transcription.loading import open_model
from rnnt.transcription.result import Transcript

if TYPE_CHECKING:
    from rnnt.model.encoders.config import ChunkChoice
    from rnnt.search.config import FusionConfig, SearchConfig
    from rnnt.streaming.config import StreamConfig
    from rnnt.transcription.config import ChunkConfig, TranscribeConfig


def transcribe(
    inputs: Sequence[str | Audio],
    config: TranscribeConfig,
    chunks: ChunkConfig,
    streams: StreamConfig,
    search: SearchConfig,
    fusion: FusionConfig,
    choice: ChunkChoice,
) -> None:
    """Transcribe `inputs` to stdout or to a file each.

    Raises:
        UserError: the options don't fit the inputs, or some of them could not be transcribed.
    """
    suffix, write = FORMATS[config.output_format]
    if not inputs:
        raise UserError("stdin: no file in the list")
    if not config.output_dir and len(inputs) > 1 and config.output_format in ("srt", "vtt"):
        raise UserError(f"--output-format {config.output_format} of several files needs --output-dir")
    paths = output_paths([str(item) for item in inputs], config.output_dir, suffix) if config.output_dir else {}
    inputs = _wanted(inputs, paths, config)
    if not inputs:
        return
    recognizer = open_model(config.model, config.device, config.threads)
    recognizer.check_search(search, config.model)
    scorers = recognizer.scorers_of(fusion)
    live = None
    if config.streaming:
        live = LiveTranscription(streaming_of(recognizer, config.model, search, scorers, streams, choice))
    elif choice.chunk_size:
        choose_chunks_of(recognizer, config.model, choice)

    opened, seconds = open_all(inputs)
    bar = progress((), total=round(seconds, 2), what="transcribe", unit="s")
    good = (audio for audio in opened if not isinstance(audio, UserError))
    if live:
        results = live.transcribe_each(good, bar.update)
    else:
        results = recognizer.transcribe_each(good, None, search, scorers, chunks, on_audio=bar.update)
    failed = 0
    for item, audio in zip(inputs, opened):
        result = audio if isinstance(audio, UserError) else next(results)
        if isinstance(result, UserError):
            failed += 1
            bar.write(f"error: {result}", file=sys.stderr)
        elif config.output_dir:
            with atomic_write(paths[str(item)]) as output:
                output.write(write(result))
        elif config.output_format in ("text", "txt"):
            bar.write("".join(text_lines(result, len(inputs) > 1)), end="")
        else:
            bar.write(write(result), end="")
    bar.close()
    if live:
        print(live.summary(), file=sys.stderr)
    if failed:
        raise UserError(f"{failed} of {counted(len(inputs), 'file')} could not be transcribed")


def _wanted(
    inputs: Sequence[str | Audio], paths: Mapping[str, Path], config: TranscribeConfig
) -> Sequence[str | Audio]:
    """The inputs whose output is to be written; raises `UserError` where one is there and nothing was said of it."""
    there = {name: path for name, path in paths.items() if path.exists()}
    if there and config.skip_existing:
        print(f"{counted(len(there), 'file')} transcribed before, skipped", file=sys.stderr)
        return [item for item in inputs if str(item) not in there]
    if there and not config.overwrite:
        raise UserError(
            f"{next(iter(there.values()))}: already exists; --skip-existing true leaves such files out, --overwrite "
            "true replaces them"
        )
    return inputs


def find_inputs(arguments: Sequence[str], stdin: BinaryIO) -> list[str | Audio]:
    """What the command line names.

    Args:
        arguments: files, folders (all audio files in them), patterns such as "talks/*.mp3", and `-`: standard input,
            which is a list of files, one per line, or an audio file itself.
        stdin: read for `-`.
    """
    found: list[str | Audio] = []
    for argument in arguments:
        if argument == "-":
            found += _from_stdin(stdin.read())
        elif os.path.isdir(argument):
            found += map(str, audio_files(argument))
        elif glob.has_magic(argument) and not os.path.exists(argument):
            files = sorted(path for path in glob.glob(argument, recursive=True) if os.path.isfile(path))
            if not files:
                raise UserError(f"{argument}: no file is called so")
            found += files
        else:
            found.append(argument)
    return found


def _from_stdin(data: bytes) -> list[str | Audio]:
    if b"\0" in data[:4096] or data[:4] in (b"fLaC", b"OggS") or data[:3] == b"ID3":
        return [MemoryAudio(data, "stdin")]
    # Names of any bytes, as on the command line; lines may end as on any system.
    lines = re.split(r"\r\n|\n|\r", data.decode("utf-8", "surrogateescape").removeprefix("\ufeff"))
    return [line for line in lines if line.strip()]


def output_paths(files: Sequence[str], folder: str, suffix: str) -> dict[str, Path]:
    """`{file: path of its output}`; `UserError` when two files would get the same."""
    owner: dict[Path, str] = {}
    for file in files:
        path = Path(folder) / (Path(file).stem + suffix)
        if owner.setdefault(path, file) != file:
            raise UserError(f"{path}: {owner[path]} and {file} would both be written there; transcribe them apart")
    return {file: path for path, file in owner.items()}


def open_all(inputs: Sequence[str | Audio]) -> tuple[list[Audio | UserError], float]:
    """Each input as an opened `Audio` or, where it is bad, as a `UserError`; and the seconds of all."""
    opened: list[Audio | UserError] = []
    for item in inputs:
        try:
            opened.append(item if isinstance(item, Audio) else open_audio(item))
        except UserError as error:
            opened.append(error)
    return opened, sum(audio.seconds for audio in opened if not isinstance(audio, UserError))


def text_lines(transcript: Transcript, named: bool) -> Iterator[str]:
    """Text for stdout: with several files or channels each line says where it comes from."""
    many = len(transcript.channels) > 1
    for number, channel in enumerate(transcript.channels, 1):
        where = f"{transcript.name}{f':{number}' if many else ''}\t" if named or many else ""
        yield f"{where}{channel.text}\n"
