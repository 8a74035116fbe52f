"""What a training asks of a task: all that differs between a recogniser and a language model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.utils.data import Dataset

    from rnnt.distributed.world import World
    from rnnt.model.trainable import Trainable
    from rnnt.optim.config import OptimConfig
    from rnnt.training.config import RunConfig

Plan = list[np.ndarray]


class AnyBatch(Protocol):
    """What the loop asks of a micro-batch, or a part of one.

    Attributes:
        position: in the plan.
        ids: of its utterances.
        limit: the option that makes micro-batches smaller.
    """

    position: int
    ids: list[str]
    limit: ClassVar[str]

    def __len__(self) -> int: ...

    @property
    def num_tokens(self) -> int:
        """Tokens of which the log has the mean loss."""
        ...

    @property
    def amount(self) -> float:
        """What speed counts, see `Task.unit`."""
        ...

    def part(self, which: slice) -> AnyBatch:
        """Some of its utterances."""
        ...

    def describe(self) -> str:
        """What it is, in a few words."""
        ...

    def tensors(self) -> dict[str, Tensor | None]:
        """All that a loss is computed from, by name."""
        ...


class DataOptions(Protocol):
    """What the loop asks of the options of the data."""

    @property
    def seed(self) -> int: ...

    @property
    def num_workers(self) -> int: ...


class RunOptions(Protocol):
    """What the loop asks of the options of a training."""

    @property
    def train(self) -> RunConfig: ...

    @property
    def batch(self) -> DataOptions: ...

    @property
    def optim(self) -> OptimConfig: ...


@dataclass(frozen=True)
class Evaluation:
    """What was measured on the dev set.

    Attributes:
        result: for observers.
        lines: for the log; the first comes behind the number of the epoch.
        values: for the recorders, by name: numbers, and a sample as `ref` and `hyp` where there is one.
        record: for epochs.jsonl, by name; one of them is a measure of `rnnt.checkpoints.epochs`.
    """

    result: Any
    lines: list[str]
    values: dict[str, Any]
    record: dict[str, Any]


class Task(Protocol):
    """What is trained, and on what.

    Attributes:
        data: what it is trained and measured on.
        fingerprint: what a checkpoint must share with this run (see `check_compatible`).
        target: the measure of the dev set at which training is to stop; 0: none.
        scans: whether the micro-batches that need most memory are tried first.
        unit: what the speed counts: for the log, and in the names of numbers.
    """

    data: Any
    fingerprint: dict[str, Any]
    target: float
    scans: bool
    unit: ClassVar[tuple[str, str]]

    @property
    def model(self) -> Trainable:
        """What the optimizer sees, on the device of the world."""
        ...

    def plan(self, epoch: int, group: int) -> tuple[Plan, Dataset]:
        """The micro-batches of an epoch, of which an update takes `group`, and the dataset that loads them."""
        ...

    def weight(self, micro_batch: np.ndarray) -> int:
        """How much a micro-batch of the plan counts: the gradient of an update is divided by the sum of these."""
        ...

    def inputs(self, batch: Any, device: torch.device) -> Any:
        """What the model is called with, on its device."""
        ...

    def batch_count(self, step: int, group: int) -> float:
        """The clock of schedules within the model, see `rnnt.model.regularisers.schedule`."""
        ...

    def evaluate(self, model: Any, world: World, before_batch: Callable[[], None]) -> Evaluation:
        """Measure a model (the task's own, or its average) on the dev set; the same on every rank.

        `before_batch` is called on all ranks alike, equally often.
        """
        ...

    def check_compatible(self, path: Path, stored: dict[str, Any], wanted: dict[str, Any]) -> None:
        """Raise `UserError` where the fingerprint of the checkpoint `path` does not go with that of this run."""
        ...
