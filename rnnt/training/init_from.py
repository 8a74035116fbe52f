"""Begin with the weights of another model (fine-tuning), also with another vocabulary."""

from pathlib import Path

import torch

from rnnt.data.config import FeatureConfig, check_same_features
from rnnt.errors import UserError
from rnnt.files import read_json
from rnnt.model.config import ModelConfig
from rnnt.options import from_dict, to_dict
from rnnt.training.checkpoint import load_checkpoint, numbered
from rnnt.training.experiment import file_sha256

# What knows the tokens by their numbers.
VOCABULARY = ("joiner.output.", "predictor.embedding.", "simple_am_proj.", "simple_lm_proj.", "ctc_output.")
# What may be absent on either side: heads that only losses use.
HEADS = ("simple_am_proj.", "simple_lm_proj.", "ctc_output.")


def init_from(model, folder, features, tokenizer_id, log):
    """Copy the weights of another model into `model`, with its feature statistics.

    Where the vocabulary is another one, the layers that know it keep the first weights that `model` has; each tensor
    that is not taken over is logged.

    Args:
      model: `Transducer`.
      folder: a model directory, or an experiment folder, of which the last epoch is taken.
      features: `FeatureConfig` of this run.
      tokenizer_id: SHA-256 of this run's tokenizer.
    Raises:
      UserError: no model is there, or it has another encoder, other features or other sizes.
    """
    folder = Path(folder)
    if folder.is_dir() and not (folder / "bpe.model").is_file():
        raise UserError(f"--init-from {folder}: no bpe.model in it")
    record, state, source = _read(folder)
    where = folder / "config.json"
    check_same_features(features, from_dict(FeatureConfig, record["features"], where), "the cuts", where)
    ours, theirs = to_dict(model.config), to_dict(from_dict(ModelConfig, record["model"], where))
    different = [
        f"{name} is {theirs[name]} there and {ours[name]} here"
        for name in ours
        if ours[name] != theirs[name] and name.startswith(("encoder", "subsampling", "layers_before"))
    ]
    if different:
        raise UserError(f"--init-from {folder}: the encoder is another one ({'; '.join(different)}); use its options")
    same_tokens = file_sha256(folder / "bpe.model") == tokenizer_id
    taken, anew, wrong = {}, [], []
    for name, value in model.state_dict().items():
        there = state.get(name)
        found = f"{name} {_shape(value)} here, {'absent' if there is None else _shape(there)} there"
        if there is not None and there.shape == value.shape and (same_tokens or not name.startswith(VOCABULARY)):
            taken[name] = there
        elif name.startswith(HEADS) or (not same_tokens and name.startswith(VOCABULARY)):
            anew.append(found)
        else:
            wrong.append(found)
    wrong += [f"{name} {_shape(state[name])} only there" for name in state
              if name not in model.state_dict() and not name.startswith(HEADS)]  # fmt: skip
    if wrong:
        raise UserError(f"--init-from {folder}: the model does not fit: {'; '.join(wrong)}; use its options")
    with torch.no_grad():
        model.load_state_dict(taken, strict=False)
    log.info("beginning with %d tensors of %s; %s", len(taken), source,
             "the tokens are the same" if same_tokens else "the tokens are others")  # fmt: skip
    for found in anew:
        log.info("  made anew: %s", found)


def _read(folder):
    """`(config.json, weights, name)` of a model directory or an experiment folder."""
    if (folder / "weights.pt").is_file():
        return read_json(folder / "config.json"), load_checkpoint(folder / "weights.pt"), str(folder)
    epochs = numbered(folder, "epoch") if folder.is_dir() else {}
    if not epochs:
        raise UserError(
            f"--init-from {folder}: neither a model directory (export_model.py writes one) nor an experiment folder "
            "with an epoch-N.pt"
        )
    last = epochs[max(epochs)]
    state = load_checkpoint(last)
    return read_json(folder / "config.json"), state.get("ema", state["model"]), str(last)


def _shape(tensor):
    return "x".join(map(str, tensor.shape))
