"""Serve live captions to browsers and sherpa-onnx's clients.

serve.py --model MODEL_DIR    (export_model.py writes MODEL_DIR)

Open the address that it prints in a browser for captions of a microphone or a file. docs/streaming.md has the protocol.
"""

from collections.abc import Sequence

from rnnt.cli import program
from rnnt.model.encoders.config import ChunkChoice
from rnnt.options import make_parser, parse
from rnnt.search.config import FusionConfig, SearchConfig
from rnnt.streaming.config import ServerConfig, StreamConfig
from rnnt.transcription.config import check_stream_search


@program
def main(argv: Sequence[str] | None = None) -> None:
    """Serve."""
    classes = (ServerConfig, StreamConfig, SearchConfig, FusionConfig, ChunkChoice)
    (server, streams, search, fusion, choice), _ = parse(make_parser(__doc__, *classes), classes, argv)
    check_stream_search(search)

    from rnnt.transcription.serving import serve

    serve(server, streams, search, fusion, choice)


if __name__ == "__main__":
    main()
