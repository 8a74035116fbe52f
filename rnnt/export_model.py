"""Write a model directory from an experiment.

The directory holds weights.pt (plain tensors), config.json and bpe.model, all that transcribe.py and rnnt.load_model
need. The experiment is not needed any more. --format hub writes one for a model hub, --format icefall pretrained.pt and
tokens.txt of a Zipformer, --format onnx the graphs that sherpa-onnx runs.
"""

from collections.abc import Sequence

from rnnt.checkpoints.config import ExportConfig, Selection
from rnnt.cli import program
from rnnt.data.sets.config import FetchConfig
from rnnt.options import make_parser, parse


@program
def main(argv: Sequence[str] | None = None) -> None:
    """Write the model directory."""
    classes = (ExportConfig, Selection, FetchConfig)
    (config, selection, fetch), _ = parse(make_parser(__doc__, *classes), classes, argv)

    from rnnt.checkpoints.export import export
    from rnnt.transcription.comparison import transcripts_check

    check = transcripts_check(config.check, config.quantize == "none") if config.check else None
    export(config, selection, check, fetch)


if __name__ == "__main__":
    main()
