"""What a run reports to those who watch it, such as the log of a benchmark.

    class Printer(Observer):
        def eval_end(self, epoch: int, result: DevResult) -> None:
            print(epoch, result.wer)

    rnnt.train.main(extensions=[(PrinterConfig, lambda config, options: Printer())])

The main process (rank 0) alone calls its observers, in the order in which they were given. They look and don't touch:
training continues as it would without them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rnnt.distributed.world import World
    from rnnt.model.trainable import Trainable
    from rnnt.training.state import Position
    from rnnt.training.tasks.base import RunOptions


class Run(Protocol):
    """What an observer may look at: the `Trainer` is one."""

    options: RunOptions
    model: Trainable
    data: Any
    world: World

    @property
    def position(self) -> Position:
        """Where the run stands."""
        ...


class Observer:
    """Base of all observers: does nothing."""

    def run_start(self, trainer: Run) -> None:
        """Before the first update, with the model in place and the checkpoint read; `trainer` is the `Trainer`."""

    def epoch_start(self, epoch: int) -> None:
        """Before the first update of an epoch (counted from 1), or of the rest of one that is continued."""

    def epoch_end(self, epoch: int) -> None:
        """After the last update of an epoch, with its checkpoint written."""

    def eval_start(self, epoch: int) -> None:
        """Before the dev set is measured."""

    def eval_end(self, epoch: int, result: Any) -> None:
        """After that; `result` is a `DevResult` with the WER in percent; of a language model a `Perplexity`."""

    def run_end(self, success: bool) -> None:
        """At the end, also of a run that an error ended.

        `success`: the WER of --stop-at-wer was reached; without that option, all epochs (or --max-updates) are done.
        """
