"""Program: write a model directory from an experiment.

The directory holds weights.pt (plain tensors), config.json and bpe.model, all that transcribe.py and rnnt.load_model
need. The experiment is not needed any more.
"""

from dataclasses import dataclass

from rnnt.cli import program
from rnnt.options import make_parser, option, parse


@dataclass(frozen=True)
class ExportConfig:
    """Export."""

    out: str = option(help="model directory to write; must not exist")
    exp_dir: str = option("exp/train", "experiment folder with the checkpoints")
    epoch: int = option(0, "use epoch-N.pt; 0: the last one")
    avg: int = option(1, "average that many epochs, up to --epoch")
    best: int = option(0, "average the best N epochs by dev WER; 0: use --epoch and --avg")
    iter: int = option(0, "use checkpoint-N.pt; 0: use --epoch and --avg")
    manifest_dir: str = option("", "folder of the training cuts, for averages; empty: where training found them")

    def __post_init__(self):
        for name in ("epoch", "best", "iter"):
            if getattr(self, name) < 0:
                raise ValueError(f"--{name} can't be negative")
        if self.avg < 1:
            raise ValueError("--avg must be at least 1")


@program
def main(argv=None):
    """Write the model directory."""
    (config,), _ = parse(make_parser(__doc__, ExportConfig), (ExportConfig,), argv)

    from rnnt.training.averaging import Selection, load_for_decoding
    from rnnt.training.experiment import versions
    from rnnt.transcription.folder import write_model_folder

    selection = Selection(epoch=config.epoch, avg=config.avg, best=config.best, iter=config.iter)
    model, features, tokenizer, name = load_for_decoding(config.exp_dir, selection, config.manifest_dir or None)
    write_model_folder(config.out, model, features, tokenizer, name, versions())
    print(f"{config.out}: {name} of {config.exp_dir}, {sum(p.numel() for p in model.parameters())} parameters")


if __name__ == "__main__":
    main()
