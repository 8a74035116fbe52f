"""Write a model directory from icefall's Zipformer or RNN-LM.

CHECKPOINT is pretrained.pt, epoch-N.pt or checkpoint-N.pt. The directory is like those of export_model.py: decode.py,
transcribe.py and --init-from take it; that of an RNN-LM is for --nn-lm. Sizes are read from the shapes of the weights.
What is pickled beside the weights is not executed.
"""

from collections.abc import Sequence

from rnnt.checkpoints.config import ImportConfig
from rnnt.cli import program
from rnnt.options import make_parser, parse


@program
def main(argv: Sequence[str] | None = None) -> None:
    """Write the model directory."""
    parser = make_parser(__doc__, ImportConfig)
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="file of icefall")
    (config,), rest = parse(parser, [ImportConfig], argv)

    from rnnt.checkpoints.icefall.convert import import_checkpoint

    import_checkpoint(rest.checkpoint, config)


if __name__ == "__main__":
    main()
