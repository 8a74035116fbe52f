"""What a checkpoint of a training must hold. Whoever reads one reads it through this check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from rnnt.errors import one_line


def fault_of(state: Any) -> str | None:
    """What is wrong with a checkpoint of the present format; None where it is good."""
    if not isinstance(state, dict):
        return f"it holds {_shown(state)}, not a training"
    missing = [name for name in PARTS if name not in state and name not in OPTIONAL]
    foreign = [str(name) for name in state if name not in PARTS]
    if missing:
        return f"it has no {', '.join(missing)}: it is not from a training"
    if foreign:
        return f"it holds {', '.join(foreign)[:100]}, which a training does not write"
    for name, check in PARTS.items():
        problem = check(state[name]) if name in state else None
        if problem:
            return f"{name}: {problem}"
    return None


def weights_fault(weights: Any) -> str | None:
    """What is wrong with a dictionary of tensors by name, all of which are to be finite; None: nothing."""
    if not isinstance(weights, Mapping):
        return f"{_shown(weights)}, not tensors by name"
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(value, Tensor) or value.layout != torch.strided:
            return f"{_shown(name)} is {_shown(value)}, not a tensor"
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            return f"{name} is not finite"
    return None


def fit_fault(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str | None:
    """How tensors differ in names, shapes or types from those that are wanted; None: not at all."""
    missing, foreign = sorted(set(wanted) - set(weights)), sorted(set(weights) - set(wanted))
    if missing or foreign:
        return f"{missing[0]} is missing" if missing else f"{foreign[0]} belongs to another model"
    for name, value in wanted.items():
        given = weights[name]
        if given.shape != value.shape or given.is_floating_point() != value.is_floating_point():
            return f"{name} has shape {tuple(given.shape)}, the model {tuple(value.shape)}"
    return None


def optimizer_fault(stored: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> str | None:
    """Why the state of an optimizer can't be that of `optimizer` in another process; None: it can."""
    own = optimizer.state_dict()
    if [group["params"] for group in stored["param_groups"]] != [group["params"] for group in own["param_groups"]]:
        return "it is of another model"
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    # Means of each value of a parameter, or of all of its shape in one; the rest has other shapes.
    names = {name for values in stored["state"].values() for name in values}
    means = [name for name in names if name == "delta" or str(name).startswith("exp_avg")]
    for number, values in stored["state"].items():
        if type(number) is not int or not 0 <= number < len(parameters):
            return "it is of another model"
        for name in means:
            value = values.get(name)
            shape = parameters[number].shape
            if not isinstance(value, Tensor) or shape not in (value.shape, value.shape[1:]):
                return f"{name} of parameter {number} is {_shown(value)}"
    return None


def _position_fault(value: Any) -> str | None:
    least = {"epoch": 1, "batch": 0, "step": 0}
    if not isinstance(value, dict) or set(value) != set(least):
        return f"{_shown(value)}, not epoch, batch and step"
    for name, number in value.items():
        if type(number) is not int or number < least[name]:
            return f"{name} is {_shown(number)}"
    return None


def _fingerprint_fault(value: Any) -> str | None:
    kinds = {"config": dict, "losses": list, "tokenizer": str, "plan": str}
    if not isinstance(value, dict) or set(value) - {"heads", "finetune"} != set(kinds):
        return f"{_shown(value)}, not {', '.join(kinds)}"
    kinds["heads"] = list
    value = {"heads": [], **value}  # format 2 was without them at first
    wrong = [name for name, kind in kinds.items() if not isinstance(value[name], kind)]
    if wrong:
        return f"{wrong[0]} is {_shown(value[wrong[0]])}"
    if set(value["config"]) not in ({"model", "features"}, {"language_model"}):
        return "config has neither model and features nor a language model"
    return None


def _optimizer_dict_fault(value: Any) -> str | None:
    if not isinstance(value, dict) or set(value) != {"state", "param_groups"}:
        return f"{_shown(value)}, not state and param_groups"
    groups, state = value["param_groups"], value["state"]
    if not isinstance(state, dict) or not all(isinstance(one, dict) for one in state.values()):
        return f"state is {_shown(state)}"
    if not isinstance(groups, list) or not all(
        isinstance(group, dict) and isinstance(group.get("params"), list) for group in groups
    ):
        return f"param_groups is {_shown(groups)}"
    return None


def _scaler_fault(value: Any) -> str | None:
    names = {"scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker"}
    if not isinstance(value, dict) or (value and set(value) != names):
        return f"{_shown(value)}, not that of a scaler of gradients"
    wrong = [name for name, number in value.items() if type(number) not in (int, float)]
    return f"{wrong[0]} is {_shown(value[wrong[0]])}" if wrong else None


def _numbers_fault(value: Any) -> str | None:
    if not isinstance(value, dict):
        return f"{_shown(value)}, not numbers by name"
    wrong = [number for number in value.values() if type(number) not in (int, float)]
    return f"it holds {_shown(wrong[0])}" if wrong else None


def _format_fault(value: Any) -> str | None:
    return None if type(value) is int else _shown(value)


def _average_fault(value: Any) -> str | None:
    if not isinstance(value, dict) or set(value) != {"count", "mean"}:
        return f"{_shown(value)}, not count and mean"
    if type(value["count"]) is not int or value["count"] < 0:
        return f"count is {_shown(value['count'])}"
    return weights_fault(value["mean"])


def _ema_fault(value: Any) -> str | None:
    if not isinstance(value, dict) or set(value) != {"model", "objectives"}:
        return f"{_shown(value)}, not model and objectives"
    return weights_fault(value["model"]) or weights_fault(value["objectives"])


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    is_plain = isinstance(value, (int, float, str, type(None)))
    return one_line(repr(value), 60) if is_plain else f"a {type(value).__name__}"


PARTS: dict[str, Callable[[Any], str | None]] = {
    "format": _format_fault,
    "model": weights_fault,
    "objectives": weights_fault,
    "optimizer": _optimizer_dict_fault,
    "scaler": _scaler_fault,
    "position": _position_fault,
    "fingerprint": _fingerprint_fault,
    "ema": _ema_fault,
    "average": _average_fault,
    "whitening": _numbers_fault,
}
OPTIONAL = {"format", "ema", "average", "whitening"}
