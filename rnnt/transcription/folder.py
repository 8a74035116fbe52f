"""Model directories: `weights.pt`, `config.json` and `bpe.model`, and nothing outside them is needed.

The weights are plain tensors, read with `torch.load(weights_only=True)`: nothing in a model directory is executed.
"""

import shutil
from pathlib import Path

from rnnt.data.config import FeatureConfig
from rnnt.errors import UserError
from rnnt.files import atomic_folder, read_json, write_json
from rnnt.model.config import LossConfig, ModelConfig
from rnnt.model.transducer import Transducer
from rnnt.options import from_dict, to_dict
from rnnt.text.tokenizer import Tokenizer
from rnnt.training.checkpoint import load_checkpoint, save_checkpoint

FORMAT = 1
# Recognition needs none of the heads that only losses use.
NO_HEADS = LossConfig(loss="full", ctc_loss_scale=0.0)


def write_model_folder(folder, model, features, tokenizer, selection, versions):
    """Write the model directory `folder`, whole or not at all.

    Args:
      folder: must not exist: a model directory is never overwritten.
      model: `Transducer`; the heads of its losses are left out.
      features: `FeatureConfig`.
      tokenizer: `Tokenizer`; its BPE model is copied.
      selection: which checkpoints made the weights, such as `epoch-30-avg-5`.
      versions: {package: version} of what wrote the directory.
    """
    folder = Path(folder)
    if folder.exists():
        raise UserError(f"{folder}: is there already; remove it or choose another --out")
    wanted = Transducer(model.config, NO_HEADS).state_dict()
    state = model.state_dict()
    with atomic_folder(folder) as temporary:
        save_checkpoint(temporary / "weights.pt", {name: state[name].cpu().contiguous() for name in wanted})
        shutil.copyfile(tokenizer.model_path, temporary / "bpe.model")
        description = {
            "format": FORMAT,
            "selection": selection,
            "model": to_dict(model.config),
            "features": to_dict(features),
            "subsampling_factor": model.config.subsampling_factor,
            "frame_seconds": round(features.frame_shift * model.config.subsampling_factor, 6),
            "versions": versions,
        }
        write_json(temporary / "config.json", description)


def read_model_folder(folder):
    """`(model, FeatureConfig, Tokenizer, selection)` of a model directory; the model in evaluation mode on the CPU.

    Raises `UserError` when a file is missing or broken, or they do not fit together.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such model directory; export_model.py writes one from an experiment")
    where = folder / "config.json"
    description = read_json(where)
    if not isinstance(description, dict) or "format" not in description:
        raise UserError(f"{folder}: not a model directory; export_model.py writes one from an experiment")
    if description["format"] != FORMAT:
        raise UserError(f"{where}: format {description['format']}, expected {FORMAT}; export the model again")
    missing = {"model", "features", "selection"} - set(description)
    if missing:
        raise UserError(f"{where}: no {', '.join(sorted(missing))} in it; export the model again")
    config = from_dict(ModelConfig, description["model"], where)
    features = from_dict(FeatureConfig, description["features"], where)
    tokenizer = Tokenizer.load(folder / "bpe.model")
    if (config.vocab_size, config.num_features) != (tokenizer.vocab_size, features.num_mel_bins):
        raise UserError(
            f"{folder}: the model has {config.vocab_size} tokens and {config.num_features} features, bpe.model "
            f"{tokenizer.vocab_size} and the front-end {features.num_mel_bins}; export the model again"
        )
    model = Transducer(config, NO_HEADS)
    try:
        model.load_state_dict(load_checkpoint(folder / "weights.pt"))
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{folder}: weights.pt does not fit config.json ({reason}); export the model again") from None
    return model.eval(), features, tokenizer, description["selection"]
