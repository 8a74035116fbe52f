"""Model directories: `weights.pt`, `config.json` and `bpe.model`, and nothing outside them is needed.

A model that was trained with losses whose layers a search can use has those in `heads.pt`. For a model hub all weights
are in `model.safetensors`, those of the heads with names that begin with `heads.`.

The weights are plain tensors, read with `torch.load(weights_only=True)`: nothing in a model directory is executed.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from rnnt.checkpoints.averaging import TrainedModel
from rnnt.checkpoints.files import FORMAT, load_checkpoint, save_checkpoint
from rnnt.checkpoints.model_card import model_card
from rnnt.checkpoints.schema import fit_fault, weights_fault
from rnnt.checkpoints.upgrade import upgrade_model_config
from rnnt.data.config import FeatureConfig
from rnnt.errors import UserError, one_line
from rnnt.files import atomic_folder, file_sha256, read_json_object, refuse_existing, write_json
from rnnt.model.config import ModelConfig
from rnnt.model.objectives import make_heads, search_configs
from rnnt.model.transducer import Transducer
from rnnt.options import from_dict, to_dict
from rnnt.text.tokenizer import Tokenizer

READABLE = (1, FORMAT)
SAFETENSORS = "model.safetensors"
HEADS = "heads."


def write_model_dir(
    folder: str | Path, trained: TrainedModel, versions: dict[str, str | None], exp_dir: str | Path | None = None
) -> None:
    """Write the model directory `folder`, completely or not at all.

    Args:
        folder: must not exist: a model directory is never overwritten.
        trained: the model; the BPE model of its tokenizer is copied.
        versions: {package: version} of what wrote the directory.
        exp_dir: for a model hub: weights in model.safetensors, and a README.md with what the experiment says.

    Raises:
        UserError: the folder exists, or can't be written.
    """
    folder = Path(folder)
    refuse_existing(folder)
    network, features = trained.network, trained.features
    heads = {name: head.config for name, head in network.heads.items() if head.state_dict()}
    with atomic_folder(folder) as temporary:
        if exp_dir is None:
            save_checkpoint(temporary / "weights.pt", _weights(network.with_heads({})))
            if heads:
                save_checkpoint(temporary / "heads.pt", _weights(network.heads))
        else:
            _safetensors(folder).save_file(_weights(network), str(temporary / SAFETENSORS), {"format": "pt"})
        shutil.copyfile(trained.tokenizer.model_path, temporary / "bpe.model")
        description = {
            "format": FORMAT,
            "sha256": {path.name: file_sha256(path) for path in sorted(temporary.iterdir()) if path.suffix != ".json"},
            "selection": trained.name,
            "model": to_dict(network.config),
            **({"heads": [to_dict(config) for config in heads.values()]} if heads else {}),
            "features": to_dict(features),
            "subsampling_factor": network.subsampling_factor,
            "frame_seconds": round(features.frame_shift * network.subsampling_factor, 6),
            "versions": versions,
        }
        write_json(temporary / "config.json", description)
        if exp_dir is not None:
            number = sum(p.numel() for p in network.with_heads({}).parameters())
            card = model_card({**description, "parameters": number}, exp_dir)
            (temporary / "README.md").write_text(card, encoding="utf-8")


def _weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.cpu().contiguous() for name, value in module.state_dict().items()}


def _safetensors(where: Path) -> Any:
    try:
        import safetensors.torch
    except ImportError:
        raise UserError(f"{where}: {SAFETENSORS} needs safetensors: pip install safetensors") from None
    return safetensors.torch


def read_model_dir(folder: str | Path) -> TrainedModel:
    """The model of a model directory, in evaluation mode on the CPU.

    Raises:
        UserError: a file is missing or broken, or they do not fit together.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such model directory; export_model.py writes one from an experiment")
    where = folder / "config.json"
    description = read_json_object(where)
    if "format" not in description:
        raise UserError(f"{folder}: not a model directory; export_model.py writes one from an experiment")
    if description.get("runtime") == "onnx":
        raise UserError(f"{folder}: it holds ONNX graphs, and PyTorch is asked for; give a model directory")
    if type(description["format"]) is not int or description["format"] not in READABLE:
        formats = " or ".join(map(str, READABLE))
        found = one_line(repr(description["format"]), 60)
        raise UserError(f"{where}: format {found}, expected {formats}; export the model again")
    missing = {"model", "features", "selection"} - set(description)
    if missing:
        raise UserError(f"{where}: no {', '.join(sorted(missing))} in it; export the model again")
    if not isinstance(description["selection"], str):
        raise UserError(f"{where}: selection is no text; export the model again")
    config = from_dict(ModelConfig, upgrade_model_config(description["model"]), where)
    features = from_dict(FeatureConfig, description["features"], where)
    tokenizer = Tokenizer.load(folder / "bpe.model")
    if (config.vocab_size, config.num_features) != (tokenizer.vocab_size, features.num_mel_bins):
        raise UserError(
            f"{folder}: the model has {config.vocab_size} tokens and {config.num_features} features, bpe.model "
            f"{tokenizer.vocab_size} and the front-end {features.num_mel_bins}; export the model again"
        )
    network = Transducer(config)
    known = description.get("sha256", {})  # of directories that say it
    for name in ("weights.pt", "bpe.model", "heads.pt", SAFETENSORS):
        path = folder / name
        if path.is_file() and isinstance(known, dict) and known.get(name, file_sha256(path)) != file_sha256(path):
            raise UserError(f"{path}: not the file that {where} describes; export the model again")
    network = network.with_heads(make_heads(network, search_configs(description.get("heads"), where)))
    parts: dict[str, tuple[nn.Module, dict[str, Tensor]]] = {
        "weights.pt": (network.with_heads({}), network_weights(folder))
    }
    if network.heads:
        parts["heads.pt"] = (network.heads, head_weights(folder, set(network.heads)))
    for name, (module, weights) in parts.items():
        fault = weights_fault(weights) or fit_fault(weights, module.state_dict())
        if fault:
            raise UserError(f"{folder}: {name} does not fit config.json ({fault}); export the model again")
        module.load_state_dict(weights)
    return TrainedModel(network.eval(), features, tokenizer, description["selection"])


def has_model(folder: Path) -> bool:
    """Whether the weights of a model directory are in a folder."""
    return (folder / "weights.pt").is_file() or (folder / SAFETENSORS).is_file()


def network_weights(folder: Path) -> dict[str, Tensor]:
    """The weights of a model directory without those of its heads."""
    if not (folder / SAFETENSORS).is_file():
        weights: dict[str, Tensor] = load_checkpoint(folder / "weights.pt")
        return weights
    return {name: value for name, value in _read_safetensors(folder).items() if not name.startswith(HEADS)}


def _read_safetensors(folder: Path) -> dict[str, Tensor]:
    path = folder / SAFETENSORS
    try:
        weights: dict[str, Tensor] = _safetensors(folder).load_file(str(path))
    except UserError:
        raise
    except Exception as error:  # a cut-off file raises one of several kinds
        raise UserError(f"{path}: not a file of tensors ({one_line(error)}); get or export the model again") from None
    return weights


def head_weights(folder: Path, names: Collection[str] | None = None) -> dict[str, Tensor]:
    """The weights of the heads of a model directory, by names such as `ctc.output.weight`; `names`: of which heads."""
    weights: dict[str, Tensor] = {}
    if (folder / SAFETENSORS).is_file():
        stored = _read_safetensors(folder).items()
        weights = {name.removeprefix(HEADS): value for name, value in stored if name.startswith(HEADS)}
    elif (folder / "heads.pt").is_file():
        weights = load_checkpoint(folder / "heads.pt")
    return {name: value for name, value in weights.items() if names is None or name.partition(".")[0] in names}
