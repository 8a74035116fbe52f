"""The training loop: epochs, checkpoints, evaluation.

An update takes `world size x accumulation` consecutive micro-batches of the plan (rnnt/training/update.py makes it).
Together with the plan and its random draws, which come from (seed, epoch, position in the plan), this makes a run a
pure function of its options: it can be stopped anywhere, continued, and spread over ranks.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnt.checkpoints.epochs import append_json_line, measure_of, read_epochs
from rnnt.checkpoints.files import remove_old
from rnnt.checkpoints.running_average import RunningAverage
from rnnt.data.dataset import Batches
from rnnt.data.plan import parts_of_rank
from rnnt.distributed.signals import Interrupted
from rnnt.errors import counted
from rnnt.optim.schedule import TrainingProgress
from rnnt.options import to_dict
from rnnt.training.diagnostics import Diagnostics
from rnnt.training.gradients import SubBatch
from rnnt.training.memory_scan import scan
from rnnt.training.metrics import Clock
from rnnt.training.recorders.choice import make_recorders
from rnnt.training.report import ProgressReport, SkippedUpdates
from rnnt.training.state import Position, TrainingState, start_ema
from rnnt.training.update import Updater

if TYPE_CHECKING:
    from rnnt.distributed.signals import Interruption
    from rnnt.distributed.world import World
    from rnnt.training.observers import Observer
    from rnnt.training.tasks.base import AnyBatch, Plan, RunOptions, Task


class Trainer:
    """One training run on one rank.

    Args:
        options: of the run.
        task: what is trained, and on what.
        world: this process among all.
        log: of the run.
        interruption: of this process.
        observers: which the main process calls.
    """

    def __init__(
        self,
        options: RunOptions,
        task: Task,
        world: World,
        log: logging.Logger,
        interruption: Interruption,
        observers: Sequence[Observer] = (),
    ) -> None:
        train, model = options.train, task.model
        self.options, self.task, self.world, self.log = options, task, world, log
        self.model, self.data = model, task.data
        self.interruption = interruption
        self.observers = observers if world.is_main else ()
        self.exp_dir = Path(train.exp_dir)
        # Whatever each rank drew, all begin with the weights of rank 0, and so does their average.
        world.broadcast(model.state_dict().values())
        self.ema = start_ema(model, train.ema_decay) if train.ema_decay else None
        self.average = RunningAverage() if train.average_period and world.is_main else None
        diagnostics = Diagnostics(model, log, train.print_diagnostics, train.inf_check)
        self.updater = Updater(options, task, self.ema, world, log, diagnostics)
        self.state = TrainingState(self.updater, self.average, lambda epoch: len(self._plan(epoch)[0]))
        self.recorders = make_recorders(train, world.is_main, log)
        self.report = ProgressReport(world, log, self.recorders, task.unit)
        self.records: dict[int, dict[str, Any]] = {}  # what epochs.jsonl says about the epochs that are done
        self.skipped = SkippedUpdates(train, world, log, self.recorders)

    @property
    def position(self) -> Position:
        """Where the run stands."""
        return self.state.position

    def resume(self) -> None:
        """Take up what the experiment folder holds; nothing is written. Raises `UserError` where it does not fit."""
        self.state.resume(self.exp_dir, self.options.train.start_epoch, self.world, self.log)
        # As rank 0 sees them: a shared file system may show other machines an older state.
        self.records = self.world.gather(read_epochs(self.exp_dir) if self.world.is_main else None)[0]

    def run(self) -> bool:
        """Train from where `resume` has led to the last epoch, or to the task's target or --max-updates.

        Returns:
            Whether the run did what it was asked for, as `Observer.run_end` says it.
        """
        self.recorders.open(to_dict(self.options))
        self.recorders.record("start", self.position.step, epochs=self.options.train.num_epochs)
        self._tell("run_start", self)
        success = False
        try:
            success = self._run_epochs()
        finally:
            self._tell("run_end", success)
            self.recorders.record("end", self.position.step, success=success)
            self.recorders.close()
        return success

    def _tell(self, event: str, *arguments: Any) -> None:
        for observer in self.observers:
            getattr(observer, event)(*arguments)

    def _run_epochs(self) -> bool:
        train = self.options.train
        done = self.position.epoch - 1
        if done and self.position.batch == 0 and done not in self.records:
            self.records[done] = self._finish_epoch(done)
        elif done:
            self._remove_old()  # which a killed process may not have come to
        reached = self._reached(self.records.get(done))
        if self.task.scans and not (reached or done >= train.num_epochs or self._spent()):
            self._scan(done + 1)
        if not reached and done >= train.num_epochs:
            self.log.info(
                "training is complete: %s; give a larger --num-epochs to continue", counted(train.num_epochs, "epoch")
            )
        while not (reached or self.position.epoch > train.num_epochs or self._spent()):
            epoch = self.position.epoch
            if self._train_epoch():
                reached = self._reached(self._finish_epoch(epoch))
            else:
                reached = self._reached(self._evaluate(epoch))
        if self._spent():
            self.log.info("%s done, as many as --max-updates allows", counted(self.position.step, "update"))
        return reached or not self.task.target

    def _spent(self) -> bool:
        """Whether --max-updates allows no further update."""
        return 0 < self.options.train.max_updates <= self.position.step

    def _reached(self, record: dict[str, Any] | None) -> bool:
        """Whether the record of an epoch has the WER at which training is to stop."""
        target = self.task.target
        if not target or not record or record["dev_wer"] > target:
            return False
        self.log.info("training is complete: dev WER %.2f %%, the target is %g %%", record["dev_wer"], target)
        return True

    def _train_epoch(self) -> bool:
        """Train to the end of the epoch; False when --max-updates ended it before."""
        options, now = self.options, self.position
        plan, dataset = self._plan(now.epoch)
        group = self.world.size * options.train.accum_grad
        place = self.world.rank, self.world.size, options.train.accum_grad
        parts = list(parts_of_rank(plan, *place, first=now.batch, weight=self.task.weight))
        positions = [position for part in parts for position in part.positions]
        pin = self.world.device.type == "cuda"
        batches = iter(Batches(dataset, positions, options.batch.num_workers, pin_memory=pin))
        self.log.info(
            "epoch %d: %s, beginning with %d", now.epoch, counted(len(plan), "micro-batch", "micro-batches"), now.batch
        )
        self._tell("epoch_start", now.epoch)
        self.model.train()
        self.report.begin(Clock(self._done(plan)))
        signal = 0
        for part in parts:
            at = TrainingProgress(now.step, self._fraction(plan), now.epoch, math.ceil(len(plan) / group))
            lr = options.optim.schedule.learning_rate(options.optim.optimizer.base_lr, at)
            own = [next(batches) for _ in part.positions]
            result = self.updater.update(own, part.weight, lr, now.epoch, now.step)
            if result.is_finite:
                self.skipped.end_series()
                self.report.count(result.losses)
            else:
                self.skipped.add(result, self.updater.non_finite_gradients(), now)
            now.step += 1
            now.batch = min(now.batch + group, len(plan))
            if self.average is not None and now.step % options.train.average_period == 0:
                self.average.add(self.model.searched())
            if now.step % options.train.log_interval == 0 or now.batch == len(plan):
                self.report.write(now, len(plan), self._done(plan), lr, result.grad_norm)
            signal = self.world.maximum(self.interruption.number)
            stop = self._spent() or signal
            if now.batch < len(plan) and (stop or now.step % options.train.save_every_n == 0):
                self._save(self.exp_dir / f"checkpoint-{now.step}.pt")
            if stop:
                break
        complete = now.batch == len(plan)
        if complete:
            self.state.position = Position(now.epoch + 1, 0, now.step)
            self._save(self.exp_dir / f"epoch-{now.epoch}.pt")
        if signal:
            self._leave(signal)
        self._tell("epoch_end", now.epoch)
        return complete

    def _leave(self, signal: int) -> None:
        """End all ranks together, with the last checkpoint written."""
        self.world.barrier()
        error = Interrupted(signal)
        self.log.info(
            "%s at update %d: everything is saved, the same command continues from there; exit status %d",
            error, self.position.step, error.status,
        )  # fmt: skip
        raise error

    def _leave_if_asked(self) -> None:
        """End all ranks together if any was asked to; only where a checkpoint has just been written."""
        signal = self.world.maximum(self.interruption.number)
        if signal:
            self._leave(signal)

    def _evaluate(self, epoch: int) -> dict[str, Any]:
        """Measure the dev set; returns what epochs.jsonl says about an epoch."""
        self._tell("eval_start", epoch)
        found = self.task.evaluate(self.updater.averaged_model(), self.world, self._leave_if_asked)
        self._tell("eval_end", epoch, found.result)
        first, *others = found.lines
        for line in (f"epoch {epoch}: {first}", *others):
            self.log.info("%s", line)
        step = self.position.step
        self.recorders.record("dev", step, epoch=epoch, **found.values)
        return {"epoch": epoch, "step": step, **found.record}

    def _finish_epoch(self, epoch: int) -> dict[str, Any]:
        """Measure and record the dev set after a complete epoch, and remove old checkpoints."""
        record = self._evaluate(epoch)
        if self.world.is_main:
            append_json_line(self.exp_dir / "epochs.jsonl", record)
        self._remove_old()
        self.world.barrier()
        return record

    def _remove_old(self) -> None:
        """Remove the checkpoints that no rule keeps."""
        if self.world.is_main:
            keep = self.options.train
            measures = {e: measure_of(r) for e, r in read_epochs(self.exp_dir).items()}
            remove_old(self.exp_dir, keep.keep_last_k, keep.keep_last_epochs, keep.keep_best_epochs, measures)

    def _scan(self, epoch: int) -> None:
        """Try the micro-batches of an epoch that need most memory."""

        def forward_backward(batch: AnyBatch) -> None:
            self.updater.forward_backward(SubBatch(batch), len(batch), epoch, self.position.step)

        self.model.train()
        plan, dataset = self._plan(epoch)
        scan(plan, dataset, self.world.device, forward_backward, self.updater.discard_gradients, self.log)

    def _plan(self, epoch: int) -> tuple[Plan, Any]:
        """The micro-batches of an epoch, and the dataset that loads them."""
        return self.task.plan(epoch, self.world.size * self.options.train.accum_grad)

    def _fraction(self, plan: Plan) -> float:
        """Fraction of the complete training that is done."""
        return (self.position.epoch - 1 + self.position.batch / len(plan)) / self.options.train.num_epochs

    def _done(self, plan: Plan) -> float:
        """Fraction of what this command trains that is done: all epochs, or up to --max-updates."""
        most = self.options.train.max_updates
        return max(self._fraction(plan), self.position.step / most if most else 0.0)

    def _save(self, path: Path) -> None:
        if self.world.is_main:
            self.state.save(path)
            self.log.info("saved %s", path)
