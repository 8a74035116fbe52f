"""Program: transcribe audio files of any format, rate and length.

transcribe.py --model MODEL_DIR FILE...    (export_model.py writes MODEL_DIR; FILE - is a list of files on stdin)

Channels are transcribed apart. A bad file is reported, the rest go on, and the exit status is 1 at the end.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from rnnt.cli import program
from rnnt.options import make_parser, option, parse
from rnnt.search.config import FusionConfig, SearchConfig
from rnnt.transcription.config import PieceConfig
from rnnt.transcription.formats import FORMATS


@dataclass(frozen=True)
class TranscribeConfig:
    """Transcription."""

    model: str = option(help="model directory, as export_model.py writes it")
    output_format: str = option("text", "what to write; json has times and confidences", choices=list(FORMATS))
    output_dir: str = option("", "write a file for each FILE into this folder; empty: write to stdout")
    device: str = option("auto", "where to compute; auto: a GPU if there is one", choices=["auto", "cpu", "cuda"])
    threads: int = option(0, "CPU threads; 0: as many as cores")

    def __post_init__(self):
        if self.threads < 0:
            raise ValueError("--threads can't be negative")


def listed_files(arguments, stdin):
    """The files that the command line names, `-` replaced by the lines of `stdin`."""
    files = []
    for argument in arguments:
        files += [line.rstrip("\n") for line in stdin if line.strip()] if argument == "-" else [argument]
    return files


def output_paths(files, folder, suffix):
    """`{file: path of its output}`; `UserError` when two files would get the same."""
    from rnnt.errors import UserError

    owner = {}
    for file in files:
        path = Path(folder) / (Path(file).stem + suffix)
        if owner.setdefault(path, file) != file:
            raise UserError(f"{path}: {owner[path]} and {file} would both be written there; transcribe them apart")
    return {file: path for path, file in owner.items()}


def open_all(files):
    """Each file as an opened `Audio` or, where it is bad, as a `UserError`; and the seconds of all."""
    from rnnt.errors import UserError
    from rnnt.transcription.audio import open_audio

    opened = []
    for file in files:
        try:
            opened.append(open_audio(file))
        except UserError as error:
            opened.append(error)
    return opened, sum(audio.seconds for audio in opened if not isinstance(audio, UserError))


def text_lines(transcript, named):
    """Text for stdout: with several files or channels each line says where it comes from."""
    many = len(transcript.channels) > 1
    for number, said in enumerate(transcript.channels, 1):
        where = f"{transcript.name}{f':{number}' if many else ''}\t" if named or many else ""
        yield f"{where}{said.text}\n"


@program
def main(argv=None):
    """Transcribe."""
    options = (TranscribeConfig, PieceConfig, SearchConfig, FusionConfig)
    parser = make_parser(__doc__, *options)
    parser.add_argument("files", metavar="FILE", nargs="+", help="audio file; -: read names from stdin, one a line")
    (config, pieces, search, fusion), args = parse(parser, options, argv)

    from rnnt.errors import UserError
    from rnnt.files import atomic_write
    from rnnt.progress import progress
    from rnnt.search.loading import load_scorers
    from rnnt.text.ngram import read_arpa
    from rnnt.training.distributed import set_threads
    from rnnt.transcription.recognizer import load_recognizer

    suffix, write = FORMATS[config.output_format]
    files = listed_files(args.files, sys.stdin)
    if not files:
        raise UserError("stdin: no file in the list")
    if not config.output_dir and len(files) > 1 and config.output_format in ("srt", "vtt"):
        raise UserError(f"--output-format {config.output_format} of several files needs --output-dir")
    paths = output_paths(files, config.output_dir, suffix) if config.output_dir else {}
    set_threads(config.threads, 1)
    recognizer = load_recognizer(config.model, config.device)
    scorers = load_scorers(fusion, recognizer.tokenizer, read_arpa)

    opened, seconds = open_all(files)
    bar = progress((), total=round(seconds, 2), what="transcribe", unit="s")
    good = (audio for audio in opened if not isinstance(audio, UserError))
    results = recognizer.stream(good, None, search, scorers, pieces, on_audio=bar.update)
    failed = 0
    for file, audio in zip(files, opened):
        result = audio if isinstance(audio, UserError) else next(results)
        if isinstance(result, UserError):
            failed += 1
            bar.write(f"error: {result}", file=sys.stderr)
        elif config.output_dir:
            with atomic_write(paths[file]) as output:
                output.write(write(result))
        elif config.output_format == "text":
            bar.write("".join(text_lines(result, len(files) > 1)), end="")
        else:
            bar.write(write(result), end="")
    bar.close()
    if failed:
        raise UserError(f"{failed} of {len(files)} files could not be transcribed")


if __name__ == "__main__":
    main()
