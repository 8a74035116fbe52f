"""What a training reports while it runs: progress lines with their records, and the updates that were skipped."""

from __future__ import annotations

import logging
import math
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from rnnt.checkpoints.files import save_checkpoint
from rnnt.errors import UserError, counted
from rnnt.training.metrics import Clock, Tally, add_up, duration_text

if TYPE_CHECKING:
    from rnnt.distributed.world import World
    from rnnt.model.objectives.base import Loss
    from rnnt.training.config import RunConfig
    from rnnt.training.recorders.base import Recorders
    from rnnt.training.state import Position
    from rnnt.training.tasks.base import AnyBatch
    from rnnt.training.update import UpdateResult


class ProgressReport:
    """Sums up the updates and writes a line on them now and then; `unit` is that of `Task`, in which speed is."""

    def __init__(self, world: World, log: logging.Logger, recorders: Recorders, unit: tuple[str, str]) -> None:
        self.world, self.log, self.recorders, self.unit = world, log, recorders, unit
        self.tally = Tally()  # since the last line
        self.clock = Clock(0.0)

    def begin(self, clock: Clock) -> None:
        """Begin an epoch, or the rest of one."""
        self.tally, self.clock = Tally(), clock

    def count(self, losses: Sequence[tuple[AnyBatch, Loss]]) -> None:
        """Count the batches of an update with their losses."""
        for batch, loss in losses:
            self.tally.add(
                tokens=batch.num_tokens,
                amount=batch.amount,
                loss=loss.total.detach(),
                unusable=None if loss.usable_B is None else (~loss.usable_B).sum(),
                **{f"term {name}": term.detach() for name, term in loss.terms.items()},
            )

    def write(self, now: Position, plan_length: int, fraction: float, lr: float, grad_norm: float) -> None:
        """One line and a record of the updates since the last one, over all ranks. Losses are per token.

        Args:
            now: where the run stands.
            plan_length: micro-batches of the epoch.
            fraction: of the training that is done, up to --max-updates where that comes first.
            lr: learning rate of the last update.
            grad_norm: norm of its gradient.
        """
        sums = add_up(self.world.gather(self.tally.numbers()))
        self.tally = Tally()
        speed = sums.get("amount", 0.0) / self.clock.lap()
        tokens = max(sums.get("tokens", 0), 1)
        means = {name.removeprefix("term "): value / tokens for name, value in sums.items() if "term " in name}
        loss = sums["loss"] / tokens if "loss" in sums else math.nan
        terms = f" ({', '.join(f'{name} {value:.3f}' for name, value in means.items())})" if means else ""
        self.log.info(
            "epoch %d batch %d/%d update %d: loss per token %.3f%s lr %.2e grad %.2f, %.0f %s per second, %s left",
            now.epoch, now.batch, plan_length, now.step, loss, terms, lr, grad_norm, speed, self.unit[0],
            duration_text(self.clock.left(fraction)),
        )  # fmt: skip
        if sums.get("unusable"):
            unusable = counted(int(sums["unusable"]), "utterance")
            self.log.info("%s with more tokens than frames allow: not used", unusable)
        values = {"loss": loss, **means, "lr": lr, "grad_norm": grad_norm, f"{self.unit[1]}_per_second": speed}
        done = {"epoch": now.epoch - 1 + now.batch / plan_length, "done": fraction}
        self.recorders.record("progress", now.step, **done, **values, memory_bytes=memory_bytes(self.world.device))


class SkippedUpdates:
    """Names and keeps the batches of updates whose gradient is not finite; ends a training in which that continues."""

    def __init__(self, train: RunConfig, world: World, log: logging.Logger, recorders: Recorders) -> None:
        self.train, self.world, self.log, self.recorders = train, world, log, recorders
        self.folder = Path(train.exp_dir) / "bad_batches"
        self.in_series = 0

    def end_series(self) -> None:
        """An update was finite."""
        self.in_series = 0

    def add(self, result: UpdateResult, gradients: Sequence[str], now: Position) -> None:
        """Report a skipped update.

        Args:
            result: what came of it.
            gradients: names of the parameters whose gradient is not finite.
            now: where the run stood before it.

        Raises:
            UserError: too many updates in series were skipped.
        """
        failed = [batch for batch, loss in result.losses if not torch.isfinite(loss.total)]
        for batch in failed:
            self.log.warning(
                "the loss of micro-batch %d of epoch %d is not finite; skipped, kept in %s; utterances: %s",
                batch.position, now.epoch, self._keep(batch, now), " ".join(batch.ids),
            )  # fmt: skip
        any_failed = any(self.world.gather(bool(failed)))
        if result.is_scaled and not any_failed:
            return  # the scaler has tried too large a scale, which it does on purpose
        if not any_failed:
            for batch, _ in result.losses:
                self.log.warning(
                    "the losses of update %d are finite and its gradient is not; micro-batch %d of epoch %d is kept in "
                    "%s; utterances: %s",
                    now.step, batch.position, now.epoch, self._keep(batch, now), " ".join(batch.ids),
                )  # fmt: skip
            self.log.warning("not finite: the gradients of %s", _some(gradients))
        self.in_series += 1
        self.recorders.record("skipped", now.step, utterances=[key for batch in failed for key in batch.ids])
        self.log.warning("update %d: non-finite gradient, the update is skipped", now.step)
        if self.in_series >= self.train.max_bad_batches:
            raise UserError(
                f"{self.in_series} updates in a row had a non-finite loss or gradient (the batches are in "
                f"{self.folder}); lower --base-lr, raise --warmup-steps or look at those utterances, "
                "then start again: training continues from the last checkpoint"
            )

    def _keep(self, batch: AnyBatch, now: Position) -> Path:
        """Write a batch to the folder of bad ones; returns its path."""
        path = self.folder / f"epoch-{now.epoch}-batch-{batch.position}.pt"
        save_checkpoint(path, {"ids": batch.ids, **batch.tensors()})
        return path


def memory_bytes(device: torch.device) -> int:
    """The most memory that this process has had: of its GPU, or of the machine where it computes on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _some(names: Sequence[str], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
