"""Language models: from checkpoints of train_lm.py to a directory, and from either to the model that is used.

A directory holds `weights.pt` (plain tensors), `config.json` and `bpe.model`, the tokens.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rnnt.checkpoints.averaging import average_of_range, average_states, choose, ends_of_range, weights_of
from rnnt.checkpoints.config import Selection
from rnnt.checkpoints.epochs import read_epochs
from rnnt.checkpoints.files import FORMAT, damaged, load_checkpoint, load_training, save_checkpoint
from rnnt.checkpoints.schema import fit_fault, weights_fault
from rnnt.errors import UserError
from rnnt.files import atomic_folder, file_sha256, read_json_object, refuse_existing, write_json
from rnnt.model.language.base import make_language_model
from rnnt.model.language.config import LanguageModelConfig
from rnnt.options import from_dict, to_dict
from rnnt.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from rnnt.model.language.base import LanguageModel


@dataclass(frozen=True)
class TrainedLanguageModel:
    """A language model in evaluation mode on the CPU, its configuration, its tokens, and which checkpoints made it."""

    network: LanguageModel
    config: LanguageModelConfig
    tokenizer: Tokenizer
    name: str


def is_language_model(folder: str | Path) -> bool:
    """Whether a folder is a directory of a language model, or an experiment of train_lm.py."""
    try:
        return "language_model" in read_json_object(Path(folder) / "config.json")
    except UserError:  # who needs the file says what is wrong with it
        return False


def load_language_model(folder: str | Path, selection: Selection | None = None) -> TrainedLanguageModel:
    """The language model of a directory, or of an experiment of train_lm.py.

    Args:
        folder: either.
        selection: of an experiment, which checkpoints; by default the epoch of the lowest dev perplexity.

    Raises:
        UserError: there is none, or it is broken.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; train_lm.py makes a language model")
    if not is_language_model(folder):
        raise UserError(f"{folder}: no language model in it; train_lm.py makes one")
    if (folder / "weights.pt").is_file():
        return _read_directory(folder)
    return _from_experiment(folder, selection or Selection(best=1 if read_epochs(folder) else 0))


def _read_directory(folder: Path) -> TrainedLanguageModel:
    where = folder / "config.json"
    description = read_json_object(where, "format", "language_model", "selection", "sha256")
    if description["format"] != FORMAT:
        raise UserError(f"{where}: format {description['format']}, expected {FORMAT}; export the model again")
    config = from_dict(LanguageModelConfig, description["language_model"], where)
    for name in ("weights.pt", "bpe.model"):
        if not (folder / name).is_file() or description["sha256"].get(name) != file_sha256(folder / name):
            raise UserError(f"{folder / name}: not the file that {where} describes; export the model again")
    tokenizer = Tokenizer.load(folder / "bpe.model")
    network = make_language_model(config)
    weights = load_checkpoint(folder / "weights.pt")
    fault = weights_fault(weights) or fit_fault(weights, network.state_dict())
    if fault:
        raise UserError(f"{folder}: weights.pt does not fit config.json ({fault}); export the model again")
    network.load_state_dict(weights)
    return TrainedLanguageModel(network.eval(), config, tokenizer, str(description["selection"]))


def _from_experiment(folder: Path, selection: Selection) -> TrainedLanguageModel:
    paths, name = (ends_of_range if selection.use_averaged_model else choose)(selection, folder)
    states = [load_training(path) for path in paths]
    last = states[-1]["fingerprint"]
    for path, state in zip(paths, states):
        if state["fingerprint"]["config"] != last["config"] or "language_model" not in last["config"]:
            raise UserError(f"{path}: from another training than {paths[-1]}; choose other checkpoints")
    config = from_dict(LanguageModelConfig, last["config"]["language_model"], paths[-1])
    network = make_language_model(config)
    weights, use_ema = weights_of(selection, states, ())
    for path, own in zip(paths, weights):
        fault = fit_fault(own, network.state_dict())
        if fault:
            raise damaged(path, fault)
    average = average_of_range(paths, states, ()) if selection.use_averaged_model else average_states(weights)
    network.load_state_dict(average)
    tokenizer = Tokenizer.load(folder / "bpe.model")
    if file_sha256(tokenizer.model_path) != last["tokenizer"]:
        raise UserError(f"{tokenizer.model_path}: not the tokenizer that {paths[-1]} was trained with; put that there")
    return TrainedLanguageModel(network.eval(), config, tokenizer, f"{name}-ema" if use_ema else name)


def write_language_model(folder: str | Path, trained: TrainedLanguageModel, versions: dict[str, str | None]) -> None:
    """Write the directory `folder`, completely or not at all.

    Args:
        folder: must not exist: a model is never overwritten.
        trained: the model.
        versions: {package: version} of what wrote the directory.
    """
    folder = Path(folder)
    refuse_existing(folder)
    with atomic_folder(folder) as temporary:
        weights = {name: value.cpu().contiguous() for name, value in trained.network.state_dict().items()}
        save_checkpoint(temporary / "weights.pt", weights)
        shutil.copyfile(trained.tokenizer.model_path, temporary / "bpe.model")
        description = {
            "format": FORMAT,
            "sha256": {name: file_sha256(temporary / name) for name in ("bpe.model", "weights.pt")},
            "selection": trained.name,
            "language_model": to_dict(trained.config),
            "versions": versions,
        }
        write_json(temporary / "config.json", description)
