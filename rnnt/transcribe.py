"""Transcribe audio files of any format, rate and length.

transcribe.py --model MODEL_DIR FILE...    (export_model.py writes MODEL_DIR)

FILE may be a folder, a quoted pattern such as "talks/*.mp3", or -: a list of files or an audio file on standard input.
Each channel is transcribed separately. A bad file is reported, the rest continue, and the exit status is 1 at the end.
--microphone true instead of FILE transcribes while you speak.
"""

import sys
from collections.abc import Sequence

from rnnt.cli import program
from rnnt.model.encoders.config import ChunkChoice
from rnnt.options import make_parser, parse
from rnnt.search.config import FusionConfig, SearchConfig
from rnnt.streaming.config import StreamConfig
from rnnt.transcription.config import ChunkConfig, TranscribeConfig, check_options


@program
def main(argv: Sequence[str] | None = None) -> None:
    """Transcribe."""
    classes = (TranscribeConfig, ChunkConfig, StreamConfig, SearchConfig, FusionConfig, ChunkChoice)
    parser = make_parser(__doc__, *classes)
    parser.usage = "%(prog)s --model MODEL_DIR [options] FILE..."
    parser.add_argument("files", metavar="FILE", nargs="*", help="audio file, folder, pattern or -")
    (config, chunks, streams, search, fusion, choice), args = parse(parser, classes, argv)

    if config.microphone == bool(args.files):
        parser.error("give FILE or --microphone true, not both" if args.files else "give FILE or --microphone true")
    check_options(config, chunks, streams, search)
    if config.microphone:
        from rnnt.transcription.microphone import transcribe_microphone

        transcribe_microphone(config, streams, search, fusion, choice)
        return

    from rnnt.transcription.run import find_inputs, transcribe

    transcribe(find_inputs(args.files, sys.stdin.buffer), config, chunks, streams, search, fusion, choice)


if __name__ == "__main__":
    main()
