"""Which recorders a run has."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from rnnt.errors import UserError
from rnnt.training.recorders.base import Recorder, Recorders
from rnnt.training.recorders.json_lines import JsonLines
from rnnt.training.recorders.tensorboard import TensorBoard
from rnnt.training.recorders.weights_and_biases import WeightsAndBiases

if TYPE_CHECKING:
    import logging

    from rnnt.training.config import RunConfig


def make_recorders(train: RunConfig, is_main: bool, log: logging.Logger) -> Recorders:
    """The recorders of a run.

    Raises:
        UserError: on every rank, a package that an option asks for is not installed.
    """
    folder = Path(train.exp_dir)
    if train.wandb and importlib.util.find_spec("wandb") is None:
        raise UserError("--wandb: the package wandb is not installed; `pip install wandb`, or leave --wandb out")
    if not is_main:
        return Recorders([])
    found: list[Recorder] = [JsonLines(folder / "training.jsonl", log)]
    found += [TensorBoard(folder / "tensorboard", log)] if train.tensorboard else []
    found += [WeightsAndBiases(train.wandb, folder, log)] if train.wandb else []
    return Recorders(found)
