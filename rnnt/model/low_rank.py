"""LoRA: weights that are trained stay fixed, and a product of two narrow matrices is added to them.

    W' = W + alpha / r B A,   A (r, in), B (out, r),   B = 0 at first

Only A and B learn. `merged` gives the ordinary weights again, by their ordinary names.

Source: Hu et al. 2021, https://arxiv.org/abs/2106.09685; for the Zipformer icefall's finetune_lora recipe.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

ORIGINAL, FACTOR_A, FACTOR_B, SCALE = ".original", ".0.lora_A", ".0.lora_B", ".0.lora_scale"
PREFIX = "parametrizations."


class LowRank(nn.Module):
    """W -> W + alpha / r B A, for W (out, in).

    Args:
        weight: W.
        rank: r.
        alpha: as above.
    """

    lora_scale: Tensor

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        self.lora_A = nn.Parameter(weight.new_empty(rank, weight.shape[1]))
        self.lora_B = nn.Parameter(weight.new_zeros(weight.shape[0], rank))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        self.register_buffer("lora_scale", torch.tensor(alpha / rank, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        """(out, in) -> (out, in)."""
        return weight + self.lora_scale * (self.lora_B @ self.lora_A)


def is_named(name: str, wanted: Iterable[str]) -> bool:
    """Whether one of `wanted` is a part of a dotted name, in whole words: `joiner`, `feed_forward1.in_proj`."""
    return any(f".{part}." in f".{name}." for part in wanted)


def add_lora(model: nn.Module, rank: int, alpha: float, modules: Iterable[str] = ()) -> int:
    """Give linear and LSTM layers of `model` their low-rank matrices.

    Args:
        model: changed in place.
        rank, alpha: as above.
        modules: parts of the names of the layers, see `is_named`; none: every layer.

    Returns:
        The number of matrices that got them.
    """
    wanted = list(modules)
    number = 0
    for name, module in list(model.named_modules()):
        if wanted and not is_named(name, wanted):
            continue
        if isinstance(module, nn.Linear):
            matrices = ["weight"]
        elif isinstance(module, nn.LSTM):
            matrices = [n for n, _ in module.named_parameters(recurse=False) if n.startswith("weight_")]
            module.register_forward_pre_hook(_give_present_weights)
        else:
            continue
        for matrix in matrices:
            low_rank = LowRank(getattr(module, matrix), rank, alpha)
            parametrize.register_parametrization(module, matrix, low_rank)
        number += len(matrices)
    return number


def _give_present_weights(lstm: Any, _: Any) -> None:
    """torch's LSTM reads a list of its weights, made when they were set."""
    lstm._flat_weights = [getattr(lstm, name) for name in lstm._flat_weights_names]


def merged(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with the products added to the weights, under the names that a model without LoRA has."""
    result: dict[str, Tensor] = {}
    for name, value in weights.items():
        path, found, rest = name.partition(PREFIX)
        if not found:
            result[name] = value
        elif rest.endswith(ORIGINAL):
            place = name.removesuffix(ORIGINAL)
            product = weights[place + FACTOR_B].double() @ weights[place + FACTOR_A].double()
            change = weights[place + SCALE].double() * product
            result[path + rest.removesuffix(ORIGINAL)] = (value.double() + change).to(value.dtype)
    return result
