"""One update of the weights, from top to bottom."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from rnnt.model.batchnorm import commit_statistics, discard_pending_statistics
from rnnt.model.regularisers.schedule import set_progress
from rnnt.model.regularisers.whiten import commit_whitening, discard_whitening
from rnnt.optim.optimizer import clip_gradients, make_optimizer, set_learning_rate
from rnnt.training.exchange import GradientExchange
from rnnt.training.gradients import SubBatch, forward_backward_with_oom_split

if TYPE_CHECKING:
    from torch.optim.swa_utils import AveragedModel

    from rnnt.distributed.world import World
    from rnnt.model.objectives.base import Loss
    from rnnt.model.trainable import Trainable
    from rnnt.training.diagnostics import Diagnostics
    from rnnt.training.tasks.base import AnyBatch, RunOptions, Task


@dataclass(frozen=True)
class UpdateResult:
    """What an update did: the batches of this rank with their losses, and the norm of the gradient of all ranks."""

    losses: list[tuple[AnyBatch, Loss]]
    grad_norm: float
    is_scaled: bool = False  # whether a gradient that is not finite may come from the scale of the loss

    @property
    def is_finite(self) -> bool:
        """Whether the weights were changed; an update whose gradient is not finite is skipped on all ranks alike."""
        return math.isfinite(self.grad_norm)


class Updater:
    """Makes the updates of a training on one rank.

    The gradient of an update is the sum over all utterances of its micro-batches, on whatever ranks they are, divided
    by their weight: of a recogniser their number. Random draws come from (seed, epoch, position in the plan).

    Attributes:
        model, optimizer, scaler: as torch knows them.
        ema: an exponential moving average of the model, or None.
    """

    def __init__(
        self,
        options: RunOptions,
        task: Task,
        ema: AveragedModel | None,
        world: World,
        log: logging.Logger,
        diagnostics: Diagnostics,
    ) -> None:
        self.options, self.task, self.ema, self.world, self.log = options, task, ema, world, log
        self.model = model = task.model
        self.diagnostics = diagnostics
        self._progress = (-1.0, 0.0)  # of what the modules were told last
        self.optimizer = make_optimizer(model, options.optim.optimizer)
        self.exchange = GradientExchange(model.parameters(), world, options.train.exchange_bf16)
        device = world.device.type
        self.scaler = torch.amp.GradScaler(device, enabled=_has_fp16_gradients(model, options.train.precision, device))
        precision = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}[options.train.precision]
        self.autocast = torch.autocast(device, precision) if precision is not None else contextlib.nullcontext()

    def update(
        self, batches: Sequence[AnyBatch], weight: int, learning_rate: float, epoch: int, step: int
    ) -> UpdateResult:
        """Forward, backward, exchange, clip, step.

        Args:
            batches: the micro-batches of this rank.
            weight: of the micro-batches of all ranks in this update.
            learning_rate: of this update.
            epoch: of the update, from 1.
            step: updates made before it.
        """

        def forward_backward(sub_batch: SubBatch, is_last: bool) -> Loss:
            return self.forward_backward(sub_batch, weight, epoch, step, is_last)

        set_learning_rate(self.optimizer, learning_rate)
        self.discard_gradients()
        self.diagnostics.begin_update(step)
        done = forward_backward_with_oom_split(batches, forward_backward, self.discard_gradients, self.log)
        self.exchange.finish()
        self.scaler.unscale_(self.optimizer)
        grad_norm = clip_gradients(self.model.parameters(), self.options.optim.optimizer).item()
        if math.isfinite(grad_norm):
            commit_statistics(self.model, self.world.all_reduce)
            commit_whitening(self.model, self.world.all_reduce)
            self.scaler.step(self.optimizer)
            if self.ema is not None:
                self.ema.update_parameters(self.model)
        else:
            self._discard_pending()
        self.scaler.update()
        self.diagnostics.end_update(step)
        return UpdateResult([(sub_batch.batch, loss) for sub_batch, loss in done], grad_norm, self.scaler.is_enabled())

    def forward_backward(self, sub_batch: SubBatch, weight: int, epoch: int, step: int, is_last: bool = False) -> Loss:
        """Add the gradient of the losses of a sub-batch, divided by `weight`; returns the losses.

        With the last one of an update the ranks exchange gradients meanwhile.
        """
        batch = sub_batch.batch
        self._tell_progress(step, weight)
        # Dropout of this sub-batch, wherever and whenever it is computed.
        torch.manual_seed(_seed(self.options.batch.seed, epoch, batch.position, *sub_batch.path))
        inputs = self.task.inputs(batch, self.world.device)
        with self.autocast:
            loss: Loss = self.model(inputs, step)
        if is_last:
            self.exchange.overlap()
        self.scaler.scale(loss.total / weight).backward()
        return loss

    def _tell_progress(self, step: int, weight: int) -> None:
        """Set the clock of the schedules, and the scale of penalties, to those of this update."""
        count = self.task.batch_count(step, self.world.size * self.options.train.accum_grad)
        progress = count, self.scaler.get_scale() / weight
        if progress != self._progress:
            set_progress(self.model, *progress)
            self._progress = progress

    def averaged_model(self) -> Trainable:
        """The moving average of the model where there is one, else the model itself: what is evaluated."""
        return self.model if self.ema is None else cast("Trainable", self.ema.module)

    def discard_gradients(self) -> None:
        """Drop what forward and backward passes since the last update have left behind; what was sent stays sent."""
        self.exchange.wait_for_finish()
        self.optimizer.zero_grad(set_to_none=True)
        self._discard_pending()

    def _discard_pending(self) -> None:
        discard_pending_statistics(self.model)
        discard_whitening(self.model)

    def non_finite_gradients(self) -> list[str]:
        """Names of the parameters whose gradient is not finite, after `update`."""
        named = self.model.named_parameters()
        return [name for name, p in named if p.grad is not None and not bool(torch.isfinite(p.grad).all())]


def _has_fp16_gradients(model: torch.nn.Module, precision: str, device: str) -> bool:
    """Whether gradients pass through fp16, where small ones vanish unless the loss is scaled.

    Autocast to bf16 is not enough of an answer: on CUDA torch casts recurrent layers to fp16 in any case.
    """
    recurrent = any(isinstance(module, torch.nn.RNNBase) for module in model.modules())
    return precision == "fp16" or (precision == "bf16" and device == "cuda" and recurrent)


def _seed(*place: int) -> int:
    """A 63-bit seed for torch, different for each place in the run."""
    return int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0] >> np.uint64(1))
