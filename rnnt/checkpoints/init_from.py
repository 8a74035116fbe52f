"""Begin with the weights of another model (fine-tuning), also with another vocabulary."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from rnnt.checkpoints.averaging import identity
from rnnt.checkpoints.files import load_training, numbered
from rnnt.checkpoints.model_dir import has_model, head_weights, read_model_dir
from rnnt.data.config import FeatureConfig, check_same_features
from rnnt.errors import UserError, counted
from rnnt.files import file_sha256
from rnnt.model.config import ModelConfig
from rnnt.model.encoders.adapter import adapter_dim, adapters, plain
from rnnt.model.encoders.config import EncoderConfig
from rnnt.model.low_rank import is_named, merged
from rnnt.model.objectives.base import TrainingModel
from rnnt.model.transducer import Transducer


def init_from(
    model: TrainingModel, folder: str | Path, features: FeatureConfig, tokenizer_id: str, log: logging.Logger
) -> None:
    """Copy the weights of another model into `model`, with its feature statistics.

    Where the vocabulary differs, the tensors whose size depends on it keep the first weights that `model` has.
    So do the heads of losses that the other model does not hold. Each tensor that is not taken over is logged. Adapters
    of `model` that the other one is without are the identity.

    Args:
        model: with first weights.
        folder: a model directory, or an experiment folder, of which the last epoch is taken.
        features: front-end of this run.
        tokenizer_id: SHA-256 of this run's tokenizer.
        log: of the run.

    Raises:
        UserError: no model is there, or it has another encoder, other features or other sizes.
    """
    folder = Path(folder)
    source_config, source_features, source_tokens, weights, source = _read(folder)
    check_same_features(features, source_features, "the cuts", source)
    encoder = model.network.config.encoder
    new = [] if adapter_dim(source_config.encoder) else adapters(model)
    _check_same_encoder(folder, source_config.encoder, plain(encoder) if new else encoder)
    same_tokens = source_tokens == tokenizer_id
    vocabulary = set() if same_tokens else vocabulary_tensors(model)
    # Parts that one of the two models does without.
    optional = ["objectives."]
    if source_config.transducer != model.network.config.transducer:
        optional += ["network.predictor.", "network.joiner."]
    taken, kept, wrong = {}, [], []
    own = model.state_dict()
    for name, value in own.items():
        there = weights.get(name)
        if is_named(name, new):
            continue
        found = f"{name} {_shape(value)} here, {'absent' if there is None else _shape(there)} there"
        if there is not None and there.shape == value.shape and name not in vocabulary:
            taken[name] = there
        elif name in vocabulary or name.startswith(tuple(optional)):
            kept.append(found)
        else:
            wrong.append(found)
    unknown = [name for name in weights if name not in own and not name.startswith(tuple(optional))]
    wrong += [f"{name} {_shape(weights[name])} only there" for name in unknown]
    if wrong:
        raise UserError(f"--init-from {folder}: the model does not fit: {'; '.join(wrong)}; use its options")
    with torch.no_grad():
        model.load_state_dict(taken, strict=False)
    log.info(
        "beginning with %d tensors of %s; the tokens are %s",
        len(taken),
        source,
        "the same" if same_tokens else "different",
    )
    if new:
        log.info("  with %s, which change nothing yet", counted(len(new), "adapter"))
    for found in kept:
        log.info("  with first weights: %s", found)


def vocabulary_tensors(model: TrainingModel) -> set[str]:
    """Names of the tensors of `model` that know the tokens by their ids: their size depends on how many there are."""

    def shapes(config: ModelConfig) -> dict[str, torch.Size]:
        with torch.device("meta"):  # shapes without memory
            network = Transducer(config)
            configs = [objective.config for objective in model.each_objective()]
            return {name: value.shape for name, value in TrainingModel(network, configs).state_dict().items()}

    config = model.network.config
    larger = shapes(replace(config, vocab_size=config.vocab_size + 1))
    return {name for name, shape in shapes(config).items() if shape != larger[name]}


def _check_same_encoder(folder: Path, source: EncoderConfig, wanted: EncoderConfig) -> None:
    source_values, values = source.comparable(), wanted.comparable()
    free = {*source.free_options, *wanted.free_options}
    different = [
        f"{'encoder' if name == 'name' else name} is {source_values.get(name)} there and {values.get(name)} here"
        for name in sorted({*source_values, *values}, key=lambda name: (name != "name", name))
        if source_values.get(name) != values.get(name) and name not in free
    ]
    if different:
        raise UserError(f"--init-from {folder}: the encoder differs ({'; '.join(different)}); use its options")


def _read(folder: Path) -> tuple[ModelConfig, FeatureConfig, str, dict[str, Tensor], str]:
    """Configurations, SHA-256 of the tokenizer, weights by the names of a `TrainingModel`, and name of a model."""
    if has_model(folder):
        trained = read_model_dir(folder)
        weights = {f"network.{name}": value for name, value in trained.network.with_heads({}).state_dict().items()}
        weights.update({f"objectives.{name}": value for name, value in head_weights(folder).items()})
        tokens = file_sha256(trained.tokenizer.model_path)
        return trained.network.config, trained.features, tokens, weights, str(folder)
    if folder.is_file():
        raise UserError(
            f"--init-from {folder} is a file; give the folder of the experiment (its last epoch is taken), or write a "
            "model directory of any epoch with export_model.py --epoch N"
        )
    epochs = numbered(folder, "epoch") if folder.is_dir() else {}
    if not epochs:
        raise UserError(
            f"--init-from {folder}: neither a model directory (export_model.py writes one) nor an experiment folder "
            "with an epoch-N.pt"
        )
    last = epochs[max(epochs)]
    state = load_training(last)
    model, features, tokens = identity(last, state["fingerprint"])
    state = state.get("ema", state)
    weights = {f"network.{name}": value for name, value in merged(state["model"]).items()}
    weights.update({f"objectives.{name}": value for name, value in state["objectives"].items()})
    return model, features, tokens, weights, str(last)


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape))
