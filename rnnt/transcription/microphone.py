"""The microphone, transcribed while one speaks."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from rnnt.errors import UserError, one_line
from rnnt.transcription.formats import FORMATS
from rnnt.transcription.live import PIECE, streaming_of
from rnnt.transcription.loading import open_model
from rnnt.transcription.result import Channel, Transcript

if TYPE_CHECKING:
    from rnnt.model.encoders.config import ChunkChoice
    from rnnt.search.config import FusionConfig, SearchConfig
    from rnnt.search.result import Word
    from rnnt.streaming.config import StreamConfig
    from rnnt.transcription.config import TranscribeConfig

CLEAR = "\r\x1b[K"  # of a terminal: the line that is there


def transcribe_microphone(
    config: TranscribeConfig, streams: StreamConfig, search: SearchConfig, fusion: FusionConfig, choice: ChunkChoice
) -> None:
    """Transcribe until Ctrl-C or SIGTERM, to stdout.

    As text, each utterance is a line once it has ended, and what is being said is seen on a terminal; other formats are
    written at the end.

    Raises:
        UserError: no microphone, or a model that can't stream.
    """
    recognizer = open_model(config.model, config.device, config.threads)
    recognizer.check_search(search, config.model)
    stream = streaming_of(recognizer, config.model, search, recognizer.scorers_of(fusion), streams, choice).stream()
    _, write = FORMATS[config.output_format]
    lines = _Lines(config.output_format in ("text", "txt"))
    texts: list[str] = []
    words: list[Word] = []
    seconds = 0.0

    def note() -> None:
        """Keep an utterance that has ended."""
        if stream.text:
            texts.append(stream.text)
            words.extend(stream.words)
            lines.finish(stream.text)

    with _stopping() as stopped, _microphone() as (rate, pieces):
        print("listening; Ctrl-C ends", file=sys.stderr, flush=True)
        for samples in pieces:
            seconds += len(samples) / rate
            stream.accept(samples, rate)
            if stream.is_endpoint:
                note()
                stream.next_utterance()
            else:
                lines.show(stream.text)
            if stopped:
                break
    stream.finish()
    note()
    lines.show("")
    if not lines.is_text:
        print(write(Transcript("microphone", seconds, (Channel(" ".join(texts), tuple(words)),))), end="")


class _Lines:
    """Lines of text on stdout; on a terminal the last one changes."""

    def __init__(self, is_text: bool) -> None:
        self.is_text, self._is_terminal = is_text, is_text and sys.stdout.isatty()

    def show(self, text: str) -> None:
        """What is being said; of a long text the end."""
        if self._is_terminal:
            width = shutil.get_terminal_size().columns - 1
            print(CLEAR + text[-width:], end="", flush=True)

    def finish(self, text: str) -> None:
        """What was said."""
        if self.is_text:
            print((CLEAR if self._is_terminal else "") + text, flush=True)


@contextlib.contextmanager
def _stopping() -> Iterator[list[int]]:
    """A list that is empty until Ctrl-C or SIGTERM comes: what is being recognised is not torn apart."""
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _microphone() -> Iterator[tuple[int, Iterator[np.ndarray]]]:
    """The sampling rate of the default microphone, and its samples (N,) float32, 0.1 s at a time."""
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # without the package, or without the library PortAudio
        raise UserError(
            f"--microphone needs the package sounddevice and PortAudio ({one_line(error)}); install them: "
            "pip install sounddevice, apt install libportaudio2"
        ) from None
    try:
        rate = round(sounddevice.query_devices(kind="input")["default_samplerate"])
        with sounddevice.InputStream(samplerate=rate, channels=1, dtype="float32") as device:
            yield rate, _pieces(device, round(PIECE * rate))
    except sounddevice.PortAudioError as error:
        raise UserError(f"the microphone: {one_line(error)}") from None


def _pieces(device: object, size: int) -> Iterator[np.ndarray]:
    is_warned = False
    while True:
        samples, is_lost = device.read(size)  # type: ignore[attr-defined]
        if is_lost and not is_warned:
            is_warned = True
            print("warning: recognition is slower than speech, some of which was lost", file=sys.stderr)
        yield samples[:, 0]
