"""Options of transcription. Free of torch, so that --help is quick."""

from collections.abc import Sequence
from dataclasses import dataclass

from rnnt.errors import UserError
from rnnt.options import changed, flag, option
from rnnt.search.config import METHODS, SearchConfig
from rnnt.streaming.config import StreamConfig
from rnnt.transcription.formats import FORMATS


@dataclass(frozen=True)
class TranscribeConfig:
    """Transcription."""

    model: str = option(help="model directory, as export_model.py writes it")
    streaming: bool = option(
        False, "recognise as if it was being spoken, and say how long words take; for encoders that can stream"
    )
    microphone: bool = option(
        False, "instead of files transcribe the microphone, until Ctrl-C; needs the package sounddevice"
    )
    output_format: str = option("text", "what to write; json has times and confidences", choices=list(FORMATS))
    output_dir: str = option("", "write a file for each FILE into this folder; empty: write to stdout")
    skip_existing: bool = option(False, "with --output-dir: leave out files whose output is there")
    overwrite: bool = option(False, "with --output-dir: replace outputs that are there; without, they are an error")
    device: str = option("auto", "where to compute; auto: a GPU if there is one", choices=["auto", "cpu", "cuda"])
    threads: int = option(0, "CPU threads; 0: as many as cores", minimum=0, maximum=4096)

    def __post_init__(self) -> None:
        if (self.skip_existing or self.overwrite) and not self.output_dir:
            raise ValueError("--skip-existing and --overwrite need --output-dir")
        if self.skip_existing and self.overwrite:
            raise ValueError("--skip-existing and --overwrite exclude each other")
        if self.microphone and self.output_dir:
            raise ValueError("--microphone writes to stdout: leave out --output-dir")


@dataclass(frozen=True)
class ChunkConfig:
    """Long audio."""

    chunk_seconds: float = option(20.0, "longer audio is cut into overlapping chunks of this many seconds", above=0)
    overlap_seconds: float = option(4.0, "seconds that two neighbouring chunks share", above=0)
    batch_seconds: float = option(120.0, "seconds of audio per batch, padding counted", above=0)

    def __post_init__(self) -> None:
        if 2 * self.overlap_seconds > self.chunk_seconds:
            raise ValueError("--overlap-seconds must be at most half of --chunk-seconds")


def check_options(config: TranscribeConfig, chunks: ChunkConfig, streams: StreamConfig, search: SearchConfig) -> None:
    """Raise UserError where an option changes nothing in what is done."""
    if config.streaming or config.microphone:
        _refuse(changed(chunks), "a stream is not cut; leave it out, or leave out --streaming")
        check_stream_search(search)
    else:
        _refuse(changed(streams), "for --streaming true or --microphone true; long files: --chunk-seconds")
        check_effect_of(search)


def check_stream_search(search: SearchConfig) -> None:
    """Raise UserError where an option changes nothing in the search of a stream."""
    if search.nbest > 1:
        raise UserError("--nbest: a stream has one text; leave it out")
    check_effect_of(search)


def check_effect_of(search: SearchConfig) -> None:
    """Raise UserError where an option changes nothing in the search."""
    method = search.decoding_method
    ignored = METHODS[method].ignores
    unused = [name for name in changed(search) if name in ignored]
    _refuse(unused, f"without effect on --decoding-method {method}; leave it out")


def _refuse(options: Sequence[str], why: str) -> None:
    if options:
        raise UserError(f"{', '.join(map(flag, options))}: {why}")
