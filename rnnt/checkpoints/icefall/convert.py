"""Between icefall's names of weights and ours: a model from its checkpoint, and a checkpoint from our model."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rnnt.checkpoints.averaging import TrainedModel
from rnnt.checkpoints.config import ImportConfig
from rnnt.checkpoints.files import save_checkpoint
from rnnt.checkpoints.icefall.language_model import is_language_model, to_language_model
from rnnt.checkpoints.icefall.reading import IcefallCheckpoint, averaged_between, read_icefall
from rnnt.checkpoints.icefall.sizes import known_options, model_config
from rnnt.checkpoints.language_model import TrainedLanguageModel, write_language_model
from rnnt.checkpoints.model_dir import write_model_dir
from rnnt.checkpoints.versions import versions
from rnnt.data.config import FeatureConfig
from rnnt.errors import UserError
from rnnt.files import atomic_folder, refuse_existing
from rnnt.model.objectives import make_heads
from rnnt.model.objectives.config import CTCConfig, ObjectiveConfig, PrunedConfig
from rnnt.model.transducer import Transducer
from rnnt.options import to_dict
from rnnt.text.token_list import build_model, read_token_list
from rnnt.text.tokenizer import Tokenizer

# Beginnings of names, theirs and ours; the first that fits.
NAMES = (
    ("encoder_embed.", "encoder.embed."),
    ("encoder.", "encoder."),
    ("decoder.", "predictor."),
    ("joiner.decoder_proj.", "joiner.predictor_proj."),
    ("joiner.output_linear.", "joiner.output."),
    ("joiner.", "joiner."),
    ("simple_am_proj.", "heads.pruned.simple_am_proj."),
    ("simple_lm_proj.", "heads.pruned.simple_lm_proj."),
    ("ctc_output.1.", "heads.ctc.output."),
)
LEFT_OUT = ("attention_decoder.",)
STATISTICS = ("feature_mean", "feature_std")


def our_name(name: str) -> str | None:
    """Our name of a tensor of icefall; None: no such tensor is known."""
    return next((ours + name[len(theirs) :] for theirs, ours in NAMES if name.startswith(theirs)), None)


def their_name(name: str) -> str | None:
    """icefall's name of one of our tensors, those of heads as in `Transducer.with_heads`; None: it has none."""
    for theirs, ours in sorted(NAMES, key=lambda pair: -len(pair[1])):
        if name.startswith(ours):
            return theirs + name[len(ours) :]
    return None


def head_configs(weights: Mapping[str, Tensor]) -> list[ObjectiveConfig]:
    """The losses whose layers are among the weights."""
    found: list[ObjectiveConfig] = []
    if "simple_am_proj.weight" in weights:
        found.append(PrunedConfig(proj_init_scale=0.25))
    if "ctc_output.1.weight" in weights:
        found.append(CTCConfig(ctc_dropout=0.1))
    return found


def to_network(checkpoint: IcefallCheckpoint, weights: Mapping[str, Tensor], given: Mapping[str, Any]) -> Transducer:
    """The network with the heads that the weights have, in evaluation mode.

    Args:
        checkpoint: where the weights are from.
        weights: by icefall's names.
        given: options that shapes do not give, see `rnnt.checkpoints.icefall.sizes`.

    Raises:
        UserError: it is another network, or tensors are missing, unknown or of other sizes.
    """
    weights = {name: value for name, value in weights.items() if not name.startswith(LEFT_OUT)}
    where = checkpoint.where
    network = Transducer(model_config(weights, where, checkpoint.options, given))
    network = network.with_heads(make_heads(network, head_configs(weights)))
    own = {name: value for name, value in network.state_dict().items() if name not in STATISTICS}
    named = {our_name(name) or name: (name, value) for name, value in weights.items()}
    missing = [their_name(name) or name for name in own if name not in named]
    surplus = [theirs for ours, (theirs, _) in named.items() if ours not in own]
    sizes = [
        f"{theirs} is {tuple(value.shape)} and should be {tuple(own[ours].shape)}"
        for ours, (theirs, value) in named.items()
        if ours in own and own[ours].shape != value.shape
    ]
    for problem, names in (("lacks", missing), ("has, beyond a Zipformer's,", surplus), ("does not fit:", sizes)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise UserError(f"{where}: {problem} {', '.join(names[:3])}{more}")
    network.load_state_dict({ours: value.float() for ours, (_, value) in named.items()}, strict=False)
    return network.eval()


def import_network(
    source: str | Path | Mapping[str, Any],
    average_from: str | Path = "",
    use_averaged_model: bool = False,
    **given: Any,
) -> Transducer:
    """The network of a checkpoint or state dict of icefall's Zipformer, see `rnnt.import_icefall`."""
    checkpoint, weights = read_weights(source, average_from, use_averaged_model)
    return to_network(checkpoint, weights, given)


def read_weights(
    source: str | Path | Mapping[str, Any], average_from: str | Path = "", use_averaged_model: bool = False
) -> tuple[IcefallCheckpoint, dict[str, Tensor]]:
    """A checkpoint, and those of its weights or means of weights that are wanted."""
    checkpoint = read_icefall(source)
    if average_from or use_averaged_model:
        return checkpoint, averaged_between(checkpoint, read_icefall(average_from) if average_from else None)
    return checkpoint, checkpoint.weights


def load_tokens(tokens: str | Path, folder: Path) -> Tokenizer:
    """The tokenizer of `bpe.model`, of `tokens.txt`, or of a folder with one of them.

    Args:
        tokens: its path.
        folder: where a SentencePiece model made of `tokens.txt` is put.

    Raises:
        UserError: it is missing.
    """
    path = Path(tokens)
    if path.is_dir():
        inside = [path / file for file in ("bpe.model", "tokens.txt") if (path / file).is_file()]
        if not inside:
            raise UserError(f"{path}: neither bpe.model nor tokens.txt in it")
        path = inside[0]
    if path.suffix == ".txt":
        listed = read_token_list(path)
        path = folder / "bpe.model"
        path.write_bytes(build_model([token for token in listed if not token.startswith("#")]))
    return Tokenizer.load(path)


def imported_model(network: Transducer, tokens: str | Path, folder: Path, name: str) -> TrainedModel:
    """The network with its tokenizer and icefall's front-end.

    Args:
        network: from `import_network`.
        tokens: `bpe.model`, `tokens.txt`, or a folder with one of them.
        folder: where a SentencePiece model made of `tokens.txt` is put.
        name: of the model, for its description.

    Raises:
        UserError: the tokens are missing or are not those of the network.
    """
    tokenizer = load_tokens(tokens, folder)
    if (tokenizer.vocab_size, tokenizer.blank_id) != (network.vocab_size, network.blank_id):
        raise UserError(
            f"{tokens}: {tokenizer.vocab_size} tokens with blank {tokenizer.blank_id}, the model has "
            f"{network.vocab_size} with blank {network.blank_id}; give the tokens that it was trained with"
        )
    features = FeatureConfig(num_mel_bins=network.config.num_features)
    return TrainedModel(network, features, tokenizer, name)


def import_checkpoint(checkpoint: str, config: ImportConfig) -> None:
    """Write the model directory that the options name, and print a line about it."""
    refuse_existing(config.out)
    given = {name: value for name, value in to_dict(config).items() if name in known_options() and value}
    found, weights = read_weights(checkpoint, config.average_from, config.use_averaged_model)
    if is_language_model(weights):
        if given:
            raise UserError(f"{checkpoint}: a language model, which has no --{next(iter(given)).replace('_', '-')}")
        write_imported_lm(found.where, weights, config.tokens, config.out)
        return
    network = to_network(found, weights, given)
    write_imported(network, config.tokens, config.out, checkpoint)
    parameters = sum(p.numel() for p in network.parameters())
    print(f"{config.out}: {parameters} parameters; heads: {', '.join(network.heads) or 'none'}")


def write_imported(network: Transducer, tokens: str | Path, out: str | Path, source: str) -> None:
    """Write the model directory `out` of a network from `source`; `UserError` where the tokens do not fit it."""
    if not tokens:
        raise UserError(f"{out}: a model directory needs the tokens of the model: bpe.model or tokens.txt")
    with tempfile.TemporaryDirectory() as folder:
        write_model_dir(out, imported_model(network, tokens, Path(folder), f"icefall-{Path(source).stem}"), versions())


def write_imported_lm(where: str, weights: Mapping[str, Tensor], tokens: str | Path, out: str) -> None:
    """Write the directory of a language model and print a line about it."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = load_tokens(tokens, Path(folder))
        network, config = to_language_model(where, weights, tokenizer)
        trained = TrainedLanguageModel(network, config, tokenizer, f"icefall-{Path(where).stem}")
        write_language_model(out, trained, versions())
    print(f"{out}: a language model of {sum(p.numel() for p in network.parameters())} parameters, for --nn-lm")


def write_icefall(folder: str | Path, trained: TrainedModel) -> None:
    """Write `pretrained.pt` and `tokens.txt`, as icefall's `export.py` does, with `bpe.model` beside them.

    Args:
        folder: must not exist.
        trained: a Zipformer with all losses of its training in `network.heads`.

    Raises:
        UserError: the folder exists, or icefall has no such network.
    """
    folder, network = Path(folder), trained.network
    refuse_existing(folder)
    weights = {name: value for name, value in network.state_dict().items() if name not in STATISTICS}
    named = {their_name(name) or name: value.cpu().contiguous() for name, value in weights.items()}
    problem = _not_of_icefall(network, set(named) - {their_name(name) for name in weights})
    if problem:
        raise UserError(f"--format icefall: {problem}")
    with atomic_folder(folder) as temporary:
        save_checkpoint(temporary / "pretrained.pt", {"model": named})
        (temporary / "bpe.model").write_bytes(Path(trained.tokenizer.model_path).read_bytes())
        lines = [f"{token} {i}\n" for i, token in enumerate(trained.tokenizer.tokens)]
        (temporary / "tokens.txt").write_text("".join(lines), encoding="utf-8")


def _not_of_icefall(network: Transducer, foreign: set[str]) -> str | None:
    """What the network has that icefall's has not, or lacks; None: nothing. foreign: weights without a name there."""
    config = network.config
    if config.encoder.name != "zipformer":
        return f"the encoder is {config.encoder.name}; icefall reads a zipformer"
    if config.transducer and not getattr(config.predictor, "icefall_predictor", False):
        return "the model was not trained with --icefall-predictor true"
    if config.transducer and "pruned" not in network.heads:
        return "icefall's transducer has the layers of the pruned loss, which was not trained (--loss pruned)"
    if bool(torch.any(network.feature_mean != 0)) or bool(torch.any(network.feature_std != 1)):
        return "the model normalises its features, and icefall's does not (--normalize-features false in training)"
    if config.blank_id:
        return f"blank is token {config.blank_id}, in icefall it is 0"
    return f"icefall has no layer for {min(foreign)}" if foreign else None
