"""Reads checkpoints that icefall wrote, without executing what is pickled in them.

`epoch-N.pt` holds, beside the weights, every option of the training: paths and dictionaries of classes that torch's
`weights_only` refuses. Here a pickle may call nothing but what makes tensors, and any other class becomes an inert
stand-in: a path is its text, everything else is a dictionary.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from rnnt.errors import UserError, one_line

_REBUILD = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter")


@dataclass(frozen=True)
class IcefallCheckpoint:
    """Weights by icefall's names, and what the file says of the training.

    Attributes:
        where: the file, for messages.
        weights: those after the last update.
        averaged: their mean over all updates, where the file holds it.
        options: options and counters of the training; empty in `pretrained.pt`.
    """

    where: str
    weights: dict[str, Tensor]
    averaged: dict[str, Tensor] | None = None
    options: dict[str, Any] = field(default_factory=dict)


class _Inert(dict):
    """In place of an object of any class that is not needed."""

    def __init__(self, *_args: Any, **_keywords: Any) -> None:
        super().__init__()

    def __setstate__(self, _state: Any) -> None: ...

    def append(self, _item: Any) -> None:
        """Forget an item."""

    def extend(self, _items: Any) -> None:
        """Forget some."""


def _path(*parts: str) -> str:
    return str(Path(*map(str, parts)))


class _Unpickler(pickle.Unpickler):
    """Finds tensors, texts and dictionaries, and nothing that does anything."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch._utils" and name in _REBUILD:
            return getattr(torch._utils, name)
        if module == "torch" and (name.endswith("Storage") or isinstance(getattr(torch, name, None), torch.dtype)):
            return getattr(torch, name)
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            raise pickle.UnpicklingError("a storage within a storage")
        if (module, name) in (("torch", "Size"), ("torch", "device")):
            return getattr(torch, name)
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module in ("pathlib", "pathlib._local"):
            return _path
        if (module, name) == ("icefall.utils", "AttributeDict"):
            return dict
        return _Inert


_PICKLE = SimpleNamespace(Unpickler=_Unpickler, __name__="rnnt.checkpoints.icefall", load=None)


def read_icefall(source: str | Path | Mapping[str, Any]) -> IcefallCheckpoint:
    """The weights of `pretrained.pt`, `epoch-N.pt`, `checkpoint-N.pt`, or of such a dictionary or state dict in memory.

    Raises:
        UserError: the file is missing or broken, or holds no weights.
    """
    if isinstance(source, (str, Path)):
        where, content = str(source), _load(Path(source))
    else:
        where, content = "the state dict", source
    if not isinstance(content, Mapping):
        raise UserError(f"{where}: not a checkpoint of icefall: it holds no dictionary")
    model = content.get("model", content)
    if not (isinstance(model, Mapping) and model and all(isinstance(value, Tensor) for value in model.values())):
        raise UserError(f"{where}: not a checkpoint of icefall: it holds no weights under 'model'")
    averaged = content.get("model_avg")
    options = {str(key): value for key, value in content.items() if not isinstance(value, (Mapping, Tensor))}
    return IcefallCheckpoint(
        where, _named(model), _named(averaged) if isinstance(averaged, Mapping) and averaged else None, options
    )


def _load(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    if zipped_code(path):
        raise UserError(f"{path}: it is TorchScript, which holds no state dict; give pretrained.pt or epoch-N.pt")
    try:
        return torch.load(path, map_location="cpu", weights_only=False, pickle_module=_PICKLE)
    except Exception as error:  # a broken file raises one of many kinds
        raise UserError(f"{path}: not a readable checkpoint ({one_line(error)})") from None


def zipped_code(path: Path) -> bool:
    """Whether a file is an archive of TorchScript."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def _named(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights without the prefix of DistributedDataParallel."""
    return {str(name).removeprefix("module."): value for name, value in weights.items()}


def averaged_between(later: IcefallCheckpoint, earlier: IcefallCheckpoint | None = None) -> dict[str, Tensor]:
    """The mean of the weights over the updates from `earlier` (from the first one where there is none) to `later`.

    With s and e the updates of both, floored to a multiple of the period of averaging, it is
    e / (e - s) times the mean of `later` less s / (e - s) times that of `earlier`, as icefall computes it.

    Raises:
        UserError: a file holds no mean, or they are in the wrong order.
    """
    for checkpoint in (later, *([earlier] if earlier else [])):
        if checkpoint.averaged is None:
            raise UserError(f"{checkpoint.where}: holds no averaged weights (model_avg)")
    assert later.averaged is not None
    if earlier is None:
        return later.averaged
    assert earlier.averaged is not None
    period = max(int(later.options.get("average_period", 1)), 1)
    s, e = (int(c.options.get("batch_idx_train", 0)) // period * period for c in (earlier, later))
    if not 0 < s < e:
        raise UserError(f"{earlier.where} is not from before {later.where}: {s} and {e} updates")
    share = e / (e - s)
    return {
        name: (share * value.double() + (1 - share) * earlier.averaged[name].double()).to(value.dtype)
        for name, value in later.averaged.items()
    }
