"""The training loop.

An update takes `world size x accumulation` consecutive micro-batches of the plan; its gradient is the sum over all
their utterances divided by their number. Random draws come from (seed, epoch, position in the plan). Together with the
plan this makes a run a pure function of its options: it can be stopped anywhere, continued, and spread over ranks.
"""

import contextlib
import math
from pathlib import Path

import numpy as np
import torch

from rnnt.data.dataset import Batches, PlannedBatches
from rnnt.data.plan import plan_training, turns_of_rank
from rnnt.errors import UserError
from rnnt.model.batchnorm import commit_statistics, drop_statistics
from rnnt.optim.optimizer import clip_gradients, make_optimizer, set_learning_rate
from rnnt.optim.schedule import Moment, learning_rate
from rnnt.training.checkpoint import remove_old, save_checkpoint
from rnnt.training.evaluate import evaluate
from rnnt.training.gradients import Piece, compute_in_pieces, sum_over_ranks
from rnnt.training.interruption import Interrupted
from rnnt.training.memory_scan import scan
from rnnt.training.metrics import Clock, Events, Tally, add_up, append_json_line, duration_text, read_epochs
from rnnt.training.running_average import RunningAverage
from rnnt.training.state import Position, TrainingState, start_ema


class Trainer:
    """One training run on one rank.

    Args:
      options: `Options` of rnnt.train: one dataclass a component.
      model: `Transducer` on `world.device`.
      manifests: `{"train": CutManifest, "dev": CutManifest}`.
      tokenizer: `Tokenizer`.
      fill_F: numpy (F,), what SpecAugment puts into masked cells.
      identity: what a checkpoint must share with this run (see `check_fits`).
      world: `World`.
      log: logger.
      interruption: `Interruption` of this process.
      observers: `Observer`s, which the main process calls.
    """

    def __init__(self, options, model, manifests, tokenizer, fill_F, identity, world, log, interruption, observers=()):
        self.options = options
        self.model = model
        self.manifests = manifests
        self.tokenizer = tokenizer
        self.fill_F = fill_F
        self.world = world
        self.log = log
        self.interruption = interruption
        self.observers = observers if world.is_main else ()
        self.exp_dir = Path(options.train.exp_dir)
        self.tally = Tally()  # since the last progress line
        self.bad_updates = 0
        device = world.device.type
        self.scaler = torch.amp.GradScaler(device, enabled=options.train.use_fp16)
        precision = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}[options.train.precision]
        self.autocast = torch.autocast(device, precision) if precision is not None else contextlib.nullcontext()
        self.optimizer = make_optimizer(model, options.optim)
        # Whatever each rank drew, all begin with the weights of rank 0, and so does their average.
        world.broadcast(model.state_dict().values())
        self.ema = start_ema(model, options.train.ema_decay) if options.train.ema_decay else None
        self.average = RunningAverage() if options.train.average_period and world.is_main else None
        self.state = TrainingState(model, self.optimizer, self.scaler, identity, self.ema, self.average)
        self.events = Events(self.exp_dir / "tensorboard", options.train.tensorboard and world.is_main)

    @property
    def position(self):
        """Where the run stands."""
        return self.state.position

    def run(self):
        """Train from where the experiment folder stands to the last epoch, or to --stop-at-wer or --max-updates.

        Returns whether the run did what it was asked for, as `Observer.run_end` says it.
        """
        self.state.resume(self.exp_dir, self.options.train.start_epoch, self.world, self.log)
        self._tell("run_start", self)
        success = False
        try:
            success = self._run_epochs()
        finally:
            self._tell("run_end", success)
            self.events.close()
        return success

    def _tell(self, event, *what):
        for observer in self.observers:
            getattr(observer, event)(*what)

    def _run_epochs(self):
        train = self.options.train
        done = self.position.epoch - 1
        # As rank 0 sees them: a shared file system may show other machines an older state.
        records = self.world.gather(read_epochs(self.exp_dir))[0]
        if done and self.position.batch == 0 and done not in records:
            records[done] = self._finish_epoch(done)
        reached = self._reached(records.get(done))
        if train.scan_batches and not (reached or done >= train.num_epochs or self._spent()):
            self.model.train()
            scan(self, *self._plan(done + 1), lambda batch: self._compute(Piece(batch), len(batch)))
        if not reached and done >= train.num_epochs:
            self.log.info("training is complete: %d epochs; give a larger --num-epochs to go on", train.num_epochs)
        while not (reached or self.position.epoch > train.num_epochs or self._spent()):
            epoch = self.position.epoch
            if self._train_epoch():
                reached = self._reached(self._finish_epoch(epoch))
            else:
                reached = self._reached(self._evaluate(epoch))
        if self._spent():
            self.log.info("%d updates are done, as many as --max-updates allows", self.position.step)
        return reached or not train.stop_at_wer

    def _spent(self):
        """Whether --max-updates allows no further update."""
        return 0 < self.options.train.max_updates <= self.position.step

    def _reached(self, record):
        """Whether the record of an epoch has the WER at which training is to stop."""
        target = self.options.train.stop_at_wer
        if not (target and record) or record["dev_wer"] > target:
            return False
        self.log.info("training is complete: dev WER %.2f %%, the target is %g %%", record["dev_wer"], target)
        return True

    def _train_epoch(self):
        """Train to the end of the epoch; False when --max-updates ended it before."""
        options, now = self.options, self.position
        plan, dataset = self._plan(now.epoch)
        group = self.world.size * options.train.accum_grad
        turns = list(turns_of_rank(plan, self.world.rank, self.world.size, options.train.accum_grad, first=now.batch))
        positions = [position for turn in turns for position in turn.positions]
        pin = self.world.device.type == "cuda"
        batches = iter(Batches(dataset, positions, options.batch.num_workers, pin_memory=pin))
        self.log.info("epoch %d: %d micro-batches, beginning with %d", now.epoch, len(plan), now.batch)
        self._tell("epoch_start", now.epoch)
        self.model.train()
        self.tally, clock = Tally(), Clock(self._progress(plan))
        for turn in turns:
            lr = learning_rate(
                options.optim, Moment(now.step, self._progress(plan), now.epoch, math.ceil(len(plan) / group))
            )
            set_learning_rate(self.optimizer, lr)
            grad_norm = self._update([next(batches) for _ in turn.positions], turn)
            now.step += 1
            now.batch = min(now.batch + group, len(plan))
            if self.average is not None and now.step % options.train.average_period == 0:
                self.average.add(self.model)
            if now.step % options.train.log_interval == 0 or now.batch == len(plan):
                self._report(plan, lr, grad_norm, clock)
            signal = self.world.maximum(self.interruption.number)
            stop = self._spent() or signal
            if now.batch < len(plan) and (stop or now.step % options.train.save_every_n == 0):
                self._save(self.exp_dir / f"checkpoint-{now.step}.pt")
            if stop:
                break
        whole = now.batch == len(plan)
        if whole:
            self.state.position = Position(now.epoch + 1, 0, now.step)
            self._save(self.exp_dir / f"epoch-{now.epoch}.pt")
        if signal:
            self._leave(signal)
        self._tell("epoch_end", now.epoch)
        return whole

    def _leave(self, signal):
        """End all ranks together, with the last checkpoint written."""
        self.world.barrier()
        error = Interrupted(signal)
        self.log.info(
            "%s at update %d: all is saved, the same command goes on from there; exit status %d",
            error, self.position.step, error.status,
        )  # fmt: skip
        raise error

    def _leave_if_asked(self):
        """End all ranks together if any was asked to; only where a checkpoint has just been written."""
        signal = self.world.maximum(self.interruption.number)
        if signal:
            self._leave(signal)

    def _update(self, batches, turn):
        """Forward, backward and step over the micro-batches of one turn; returns the norm of the gradient."""
        self.forget_gradients()
        done = compute_in_pieces(
            batches, lambda piece: self._compute(piece, turn.num_utterances), self.forget_gradients, self.log
        )
        sum_over_ranks(self.model.parameters(), self.world)
        return self._step([(piece.batch, losses) for piece, losses in done])

    def forget_gradients(self):
        """Drop what forward and backward passes since the last update have left behind."""
        self.optimizer.zero_grad(set_to_none=True)
        drop_statistics(self.model)

    def _compute(self, piece, num_utterances):
        """Add the gradient of a piece's share in the mean over `num_utterances`; returns its `Losses`."""
        batch, device = piece.batch, self.world.device
        # Dropout of this piece, wherever and whenever it is computed.
        torch.manual_seed(_seed(self.options.batch.seed, self.position.epoch, batch.position, *piece.path))
        with self.autocast:
            losses = self.model(
                batch.x_BTF.to(device, non_blocking=True),
                batch.x_len_B,
                batch.y_BS.to(device, non_blocking=True),
                batch.y_len_B,
                *self.options.loss.scales(self.position.step),
            )
        self.scaler.scale(losses.total / num_utterances).backward()
        return losses

    def _step(self, done):
        """Clip, step, and count what was done; an update that is not finite is skipped on all ranks alike."""
        self.scaler.unscale_(self.optimizer)
        grad_norm = clip_gradients(self.model.parameters(), self.options.optim).item()
        if math.isfinite(grad_norm):
            self.bad_updates = 0
            commit_statistics(self.model, self.world.all_reduce)
            self.scaler.step(self.optimizer)
            if self.ema is not None:
                self.ema.update_parameters(self.model)
            self._count(done)
        else:
            drop_statistics(self.model)
            self._report_bad(done)
        self.scaler.update()
        return grad_norm

    def _count(self, done):
        for batch, losses in done:
            self.tally.add(
                utterances=len(batch),
                seconds=sum(batch.durations),
                loss=losses.total.detach(),
                simple=None if losses.simple is None else losses.simple.detach(),
                transducer=losses.transducer.detach(),
                ctc=None if losses.ctc is None else losses.ctc.detach(),
                unusable=(~losses.usable_B).sum(),
            )

    def _report_bad(self, done):
        """Name and keep the batch whose loss is not finite; stop when that goes on."""
        guilty = False
        for batch, losses in done:
            if not torch.isfinite(losses.total):
                guilty = True
                path = self.exp_dir / "bad_batches" / f"epoch-{self.position.epoch}-batch-{batch.position}.pt"
                self.log.warning(
                    "the loss of micro-batch %d of epoch %d is not finite; skipped, kept in %s; utterances: %s",
                    batch.position, self.position.epoch, path, " ".join(batch.ids),
                )  # fmt: skip
                save_checkpoint(path, {"ids": batch.ids, "x_BTF": batch.x_BTF, "x_len_B": batch.x_len_B,
                                       "y_BS": batch.y_BS, "y_len_B": batch.y_len_B})  # fmt: skip
        if any(self.world.gather(guilty)) or not self.options.train.use_fp16:
            self.bad_updates += 1
            self.log.warning("update %d: non-finite gradient, the update is skipped", self.position.step)
        if self.bad_updates >= self.options.train.max_bad_batches:
            raise UserError(
                f"{self.bad_updates} updates in a row had a non-finite loss or gradient (the batches are in "
                f"{self.exp_dir}/bad_batches); lower --base-lr, raise --warmup-steps or look at those utterances, "
                "then start again: training goes on from the last checkpoint"
            )

    def _report(self, plan, lr, grad_norm, clock):
        """One progress line and the events of the last `log_interval` updates, over all ranks."""
        sums = add_up(self.world.gather(self.tally.numbers()))
        self.tally = Tally()
        speed = sums.get("seconds", 0.0) / clock.lap()
        utterances = max(sums.get("utterances", 0), 1)
        means = {name: sums[name] / utterances for name in ("loss", "simple", "transducer", "ctc") if name in sums}
        parts = ", ".join(f"{name} {value:.3f}" for name, value in means.items() if name != "loss")
        self.log.info(
            "epoch %d batch %d/%d update %d: loss %.3f (%s) lr %.2e grad %.2f, %.0f s of audio a second, %s left",
            self.position.epoch, self.position.batch, len(plan), self.position.step, means.get("loss", math.nan), parts,
            lr, grad_norm, speed, duration_text(clock.left(self._progress(plan))),
        )  # fmt: skip
        if sums.get("unusable"):
            self.log.info("%d utterances have more tokens than frames allow: not used", sums["unusable"])
        self.events.scalars(
            self.position.step,
            **{f"train__{name}": value for name, value in means.items()},
            train__lr=lr,
            train__grad_norm=grad_norm,
            train__audio_seconds_per_second=speed,
        )

    def _evaluate(self, epoch):
        """Measure the dev WER; returns what epochs.jsonl says about an epoch."""
        self._tell("eval_start", epoch)
        model = self.model if self.ema is None else self.ema.module
        batch = self.options.batch
        result = evaluate(
            model,
            self.manifests["dev"],
            self.tokenizer,
            batch.max_duration,
            self.world,
            before_batch=self._leave_if_asked,
            config=self.options.search,
            num_workers=batch.num_workers,
        )
        self._tell("eval_end", epoch, result)
        self.log.info("epoch %d: dev %s, %.1f %% of labels are blank", epoch, result.summary, 100 * result.blank_share)
        self.log.info("  ref: %s", result.reference)
        self.log.info("  hyp: %s", result.hypothesis)
        step = self.position.step
        self.events.scalars(step, dev__wer=result.wer, dev__blank_share=result.blank_share)
        self.events.text(step, "dev/sample", f"ref: {result.reference}\n\nhyp: {result.hypothesis}")
        return {"epoch": epoch, "step": step, "dev_wer": result.wer, "blank_share": result.blank_share}

    def _finish_epoch(self, epoch):
        """Measure and record the dev WER of a whole epoch, and remove the checkpoints that no rule keeps."""
        record = self._evaluate(epoch)
        if self.world.is_main:
            append_json_line(self.exp_dir / "epochs.jsonl", record)
            keep = self.options.train
            remove_old(
                self.exp_dir,
                keep.keep_last_k,
                keep.keep_last_epochs,
                keep.keep_best_epochs,
                {e: r["dev_wer"] for e, r in read_epochs(self.exp_dir).items()},
            )
        self.world.barrier()
        return record

    def _plan(self, epoch):
        """The micro-batches of an epoch, and the dataset that loads them."""
        batch, manifest = self.options.batch, self.manifests["train"]
        group = self.world.size * self.options.train.accum_grad
        plan = plan_training(batch, manifest.durations, epoch, group)
        dataset = PlannedBatches(manifest, plan, self.tokenizer, self.options.augment, self.fill_F, batch.seed, epoch)
        return plan, dataset

    def _progress(self, plan):
        """Share of the whole training that is done."""
        return (self.position.epoch - 1 + self.position.batch / len(plan)) / self.options.train.num_epochs

    def _save(self, path):
        if self.world.is_main:
            self.state.save(path)
            self.log.info("saved %s", path)


def _seed(*place):
    """A 63-bit seed for torch, different for each place in the run."""
    return int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0] >> np.uint64(1))
