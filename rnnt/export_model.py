"""Program: write a model directory from an experiment.

The directory holds weights.pt (plain tensors), config.json and bpe.model, all that transcribe.py and rnnt.load_model
need. The experiment is not needed any more.
"""

from dataclasses import dataclass

from rnnt.cli import program
from rnnt.options import make_parser, option, parse
from rnnt.training.config import Selection


@dataclass(frozen=True)
class ExportConfig:
    """Export."""

    out: str = option(help="model directory to write; must not exist")
    exp_dir: str = option("exp/train", "experiment folder with the checkpoints")
    manifest_dir: str = option("", "folder of the training cuts, for averages; empty: where training found them")


@program
def main(argv=None):
    """Write the model directory."""
    options = (ExportConfig, Selection)
    (config, selection), _ = parse(make_parser(__doc__, *options), options, argv)

    from rnnt.training.averaging import load_for_decoding
    from rnnt.training.experiment import versions
    from rnnt.transcription.folder import write_model_folder

    model, features, tokenizer, name = load_for_decoding(config.exp_dir, selection, config.manifest_dir or None)
    write_model_folder(config.out, model, features, tokenizer, name, versions())
    print(f"{config.out}: {name} of {config.exp_dir}, {sum(p.numel() for p in model.parameters())} parameters")


if __name__ == "__main__":
    main()
