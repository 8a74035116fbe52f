"""The sizes of a Zipformer transducer from the shapes of its weights.

Three sizes of the attention have only two shapes to show: with H heads of q, p and v channels there are (2 q + p) H,
p H and v H rows. So one of them must be known: p is 4 in all published models.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from torch import Tensor

from rnnt.errors import UserError
from rnnt.model.config import JoinerConfig, ModelConfig, StatelessConfig
from rnnt.model.encoders.zipformer.config import ZipformerConfig
from rnnt.options import make

POS_HEAD_DIM = 4
FREQUENCIES = {19: 80}  # of the output of the convolutions: features that are usual among those that give it

# Other networks of icefall, by a name that only their checkpoints have.
OTHERS = {
    r"encoder\.encoders\.\d+\.(encoder\.)?layers\.\d+\.conv_module1\.pointwise_conv1": "the first Zipformer "
    "(pruned_transducer_stateless7)",
    r"encoder\.encoder\.layers\.\d+\.lstm\.": "an LSTM encoder (lstm_transducer_stateless)",
    r"encoder\.encoder\.emformer": "an Emformer",
    r"encoder\.encoder\.layers\.\d+\.self_attn\.linear_pos": "a Conformer (pruned_transducer_stateless)",
    r"encoder\.layers\.\d+\.self_attn\.linear_pos": "a Conformer",
    r"tdnn|encoder\.tdnn": "a TDNN",
    r"whisper|encoder\.blocks": "a Whisper encoder",
    r"feature_extractor|post_extract_proj": "a self-supervised encoder",
}


def known_options() -> set[str]:
    """The options of `model_config`: those of the encoder, and the ones that shapes of other parts do not give."""
    return {f.name for f in fields(ZipformerConfig)} - {"subsampling_factor"} | {"num_features", "blank_id"}


def model_config(
    weights: Mapping[str, Tensor], where: str, options: Mapping[str, Any], given: Mapping[str, Any]
) -> ModelConfig:
    """The configuration of the network.

    Args:
        weights: by icefall's names.
        where: the file, for messages.
        options: of the training, as icefall stores them: lists are texts such as "2,2,3,4,3,2".
        given: options of `ZipformerConfig` and `ModelConfig` that the user knows better.

    Raises:
        UserError: it is another network, or the options and the shapes contradict each other.
    """
    check_is_zipformer(weights, where)
    unknown = set(given) - known_options()
    if unknown:
        raise UserError(
            f"{where}: no option {', '.join(sorted(unknown))}; there are {', '.join(sorted(known_options()))}"
        )
    try:
        stacks = [
            _stack(weights, i, where, options, given) for i in range(_count(weights, r"encoder\.encoders\.(\d+)\."))
        ]
        per_stack = {name: [stack[name] for stack in stacks] for name in stacks[0]}
        embedding = weights.get("decoder.embedding.weight")
        vocabulary = embedding if embedding is not None else weights["ctc_output.1.weight"]
        adapter = weights.get(f"{_layers(weights, 0)}.0.adapter.in_proj.weight")
        values: dict[str, Any] = {
            **per_stack,
            "embed_channels": [weights[f"encoder_embed.conv.{i}.weight"].shape[0] for i in (0, 4, 7)],
            "pos_dim": weights[f"{_layers(weights, 0)}.0.self_attn_weights.linear_pos.weight"].shape[1],
            "causal": any("chunkwise_conv" in name for name in weights),
            "adapter_dim": 0 if adapter is None else adapter.shape[0],
            "encoder": "zipformer",
            "transducer": embedding is not None,
            "vocab_size": vocabulary.shape[0],
            "num_features": given.get("num_features") or _num_features(weights, where),
            "blank_id": 0,
        }
        if embedding is not None:
            conv = weights.get("decoder.conv.weight")
            values |= {
                "predictor": "stateless",
                "icefall_predictor": True,
                "predictor_dim": embedding.shape[1],
                "context_size": 1 if conv is None else conv.shape[2],
                "joiner_dim": weights["joiner.encoder_proj.weight"].shape[0],
                "proj_init_scale": 0.25,
            }
        for name in ("chunk_size", "left_context_frames"):
            if given.get(name) and not values["causal"]:
                raise UserError(
                    f"{where}: --{name.replace('_', '-')} is of a causal model, which this is not; leave it out"
                )
            if values["causal"] and name in options:
                values[name] = _numbers(options[name])
    except KeyError as error:
        raise UserError(f"{where}: not a complete Zipformer: there is no tensor {error.args[0]}") from None
    values |= {name: _numbers(value) if isinstance(value, str) else value for name, value in given.items()}
    known = {f.name for cls in (ZipformerConfig, StatelessConfig, JoinerConfig, ModelConfig) for f in fields(cls)}
    try:
        return make(ModelConfig, **{name: value for name, value in values.items() if name in known})
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None


def check_is_zipformer(weights: Mapping[str, Tensor], where: str) -> None:
    """Raise `UserError`, with the name of the network, unless the weights are those of a Zipformer."""
    if "encoder_embed.convnext.depthwise_conv.weight" in weights and any("bypass_mid" in name for name in weights):
        return
    for pattern, network in OTHERS.items():
        if any(re.match(pattern, name) for name in weights):
            raise UserError(f"{where}: this is {network}; only the Zipformer of icefall's recipe zipformer can be read")
    some = ", ".join(sorted(weights)[:3])
    raise UserError(f"{where}: not the Zipformer of icefall's recipe zipformer; the first tensors are {some}")


def _num_features(weights: Mapping[str, Tensor], where: str) -> int:
    frequencies = weights["encoder_embed.out.weight"].shape[1] // weights["encoder_embed.conv.7.weight"].shape[0]
    if frequencies not in FREQUENCIES:
        raise UserError(f"{where}: features that the convolutions make {frequencies} of; give num_features")
    return FREQUENCIES[frequencies]


def _layers(weights: Mapping[str, Tensor], stack: int) -> str:
    """The prefix of the layers of a stack, which downsampling puts one level deeper."""
    prefix = f"encoder.encoders.{stack}"
    return f"{prefix}.encoder.layers" if f"{prefix}.downsample.bias" in weights else f"{prefix}.layers"


def _count(weights: Mapping[str, Tensor], pattern: str) -> int:
    return 1 + max((int(m[1]) for m in (re.match(pattern, name) for name in weights) if m), default=-1)


def _numbers(value: Any) -> list[int]:
    """`"2,2,3"`, 2 or [2, 2, 3] as a list."""
    values = value.split(",") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else [value]
    return [int(v) for v in values]


def _stack(
    weights: Mapping[str, Tensor], i: int, where: str, options: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, int]:
    """The sizes of stack number `i`, by the names of `ZipformerConfig`."""
    layers = _layers(weights, i)
    first = f"{layers}.0"

    def hint(name: str) -> int | None:
        value = given.get(name, options.get(name))
        if value is None:
            return None
        values = _numbers(value)
        if len(values) > 1 and i >= len(values):
            raise UserError(f"{where}: {name} has {len(values)} numbers, and there is a stack {i}; give one for each")
        return values[i if len(values) > 1 else 0]

    downsample = weights.get(f"encoder.encoders.{i}.downsample.bias")
    dim = weights[f"{first}.norm.bias"].shape[0]
    kernel = "chunkwise_conv" if f"{first}.conv_module1.depthwise_conv.chunkwise_conv.weight" in weights else ""
    depthwise = ".".join(filter(None, (first, "conv_module1.depthwise_conv", kernel, "weight")))
    unmasked = hint("encoder_unmasked_dim")
    return {
        "num_encoder_layers": _count(weights, re.escape(layers) + r"\.(\d+)\."),
        "downsampling_factor": 1 if downsample is None else downsample.shape[0],
        "encoder_dim": dim,
        # It matters to training alone: without a hint nothing is masked.
        "encoder_unmasked_dim": dim if unmasked is None else unmasked,
        "feedforward_dim": weights[f"{first}.feed_forward2.in_proj.weight"].shape[0],
        "cnn_module_kernel": weights[depthwise].shape[2],
        **_heads(
            weights[f"{first}.self_attn_weights.in_proj.weight"].shape[0],
            weights[f"{first}.self_attn_weights.linear_pos.weight"].shape[0],
            weights[f"{first}.self_attn1.in_proj.weight"].shape[0],
            {name: hint(name) for name in ("num_heads", "query_head_dim", "pos_head_dim", "value_head_dim")},
            f"{where}: stack {i}",
        ),
    }


def _heads(
    score_rows: int, pos_rows: int, value_rows: int, hints: Mapping[str, int | None], where: str
) -> dict[str, int]:
    """Heads and channels of each from the rows (2 q + p) H, p H and v H."""
    rows = {"query_head_dim": (score_rows - pos_rows) // 2, "pos_head_dim": pos_rows, "value_head_dim": value_rows}
    heads = hints["num_heads"]
    for name, total in rows.items():
        hint = hints[name]
        if heads is None and hint:
            heads = total // hint
    if heads is None:
        heads = pos_rows // POS_HEAD_DIM
    found = {"num_heads": heads, **{name: total // max(heads, 1) for name, total in rows.items()}}
    fits = heads > 0 and all(found[name] * heads == total for name, total in rows.items())
    wrong = [name for name, hint in hints.items() if hint is not None and hint != found[name]]
    if not fits or wrong or (score_rows - pos_rows) % 2:
        raise UserError(
            f"{where}: {score_rows}, {pos_rows} and {value_rows} rows of the attention do not go with "
            + ", ".join(f"{name} {hints[name] or found[name]}" for name in ("num_heads", *rows))
            + "; give num_heads, query_head_dim, pos_head_dim or value_head_dim as they were in training"
        )
    return found
