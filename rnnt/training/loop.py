"""The training loop.

An update takes `world size x accumulation` consecutive micro-batches of the plan; its gradient is the sum over all
their utterances divided by their number. Random draws come from (seed, epoch, position in the plan). Together with the
plan this makes a run a pure function of its options: it can be stopped anywhere, continued, and spread over ranks.
"""

import contextlib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

from rnnt.data.dataset import PlannedBatches, loader
from rnnt.data.plan import plan_epoch, turns_of_rank
from rnnt.errors import UserError
from rnnt.model.batchnorm import commit_statistics, count_statistics, drop_statistics
from rnnt.optim.optimizer import make_optimizer, set_learning_rate
from rnnt.optim.schedule import learning_rate
from rnnt.training.checkpoint import load_checkpoint, newest_checkpoint, numbered, remove_old, save_checkpoint
from rnnt.training.evaluate import evaluate
from rnnt.training.experiment import check_fits
from rnnt.training.metrics import Clock, Events, Tally, add_up, append_json_line, duration_text, read_epochs


@dataclass
class Position:
    """Where a run stands: the next micro-batch (of an epoch, from 1) and the updates made."""

    epoch: int = 1
    batch: int = 0
    step: int = 0


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
    """

    def __init__(self, options, model, manifests, tokenizer, fill_F, identity, world, log):
        self.options = options
        self.model = model
        self.manifests = manifests
        self.tokenizer = tokenizer
        self.fill_F = fill_F
        self.identity = identity
        self.world = world
        self.log = log
        self.exp_dir = Path(options.train.exp_dir)
        self.position = Position()
        self.tally = Tally()  # since the last progress line
        self.bad_updates = 0
        self.optimizer = make_optimizer(model, options.optim)
        device = world.device.type
        self.scaler = torch.amp.GradScaler(device, enabled=options.train.use_fp16)
        precision = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}[options.train.precision]
        self.autocast = torch.autocast(device, precision) if precision is not None else contextlib.nullcontext()
        # Statistics of batch normalisation are summed in commit_statistics: broadcasting buffers would undo that.
        self.parallel = DistributedDataParallel(model, broadcast_buffers=False) if world.size > 1 else model
        self.events = Events(self.exp_dir / "tensorboard", options.train.tensorboard and world.is_main)

    def run(self):
        """Train from where the experiment folder stands to the last epoch."""
        self._resume()
        epochs = self.options.train.num_epochs
        records = read_epochs(self.exp_dir)
        if self.position.epoch > 1 and self.position.batch == 0 and self.position.epoch - 1 not in records:
            self._finish_epoch(self.position.epoch - 1)
        if self.position.epoch > epochs:
            self.log.info("training is complete: %d epochs; give a larger --num-epochs to go on", epochs)
        while self.position.epoch <= epochs:
            self._train_epoch()
            self._finish_epoch(self.position.epoch - 1)
        self.events.close()

    def _train_epoch(self):
        options, now = self.options, self.position
        plan = self._plan(now.epoch)
        group = self.world.size * options.train.accum_grad
        turns = list(turns_of_rank(plan, self.world.rank, self.world.size, options.train.accum_grad, first=now.batch))
        dataset = PlannedBatches(
            self.manifests["train"],
            plan,
            self.tokenizer,
            options.augment,
            self.fill_F,
            options.batch.seed,
            now.epoch,
        )
        positions = [position for turn in turns for position in turn.positions]
        pin = self.world.device.type == "cuda"
        batches = iter(loader(dataset, positions, options.batch.num_workers, pin_memory=pin))
        self.log.info("epoch %d: %d micro-batches, beginning with %d", now.epoch, len(plan), now.batch)
        self.parallel.train()
        self.tally, clock = Tally(), Clock(self._progress(plan))
        for turn in turns:
            lr = learning_rate(options.optim, now.step, self._progress(plan))
            set_learning_rate(self.optimizer, lr)
            grad_norm = self._update([next(batches) for _ in turn.positions], turn)
            now.step += 1
            now.batch = min(now.batch + group, len(plan))
            if now.step % options.train.log_interval == 0 or now.batch == len(plan):
                self._report(plan, lr, grad_norm, clock)
            if now.step % options.train.save_every_n == 0 and now.batch < len(plan):
                self._save(self.exp_dir / f"checkpoint-{now.step}.pt")
        self.position = Position(now.epoch + 1, 0, now.step)
        self._save(self.exp_dir / f"epoch-{now.epoch}.pt")

    def _update(self, batches, turn):
        """Forward, backward and step over the micro-batches of one turn; returns the norm of the gradient."""
        self.optimizer.zero_grad(set_to_none=True)
        count_statistics(self.model, not turn.spare)
        simple_scale, pruned_scale = self.options.loss.scales(self.position.step)
        done = []
        for i, batch in enumerate(batches):
            # Dropout of this micro-batch, wherever and whenever it is computed.
            torch.manual_seed(_seed(self.options.batch.seed, self.position.epoch, batch.position))
            last = i == len(batches) - 1
            with contextlib.nullcontext() if last or self.world.size == 1 else self.parallel.no_sync():
                device = self.world.device
                with self.autocast:
                    losses = self.parallel(
                        batch.x_BTF.to(device, non_blocking=True),
                        batch.x_len_B,
                        batch.y_BS.to(device, non_blocking=True),
                        batch.y_len_B,
                        simple_scale,
                        pruned_scale,
                    )
                # DDP divides by the number of ranks; the gradient is the mean over all utterances of the update.
                weight = 0.0 if turn.spare else self.world.size / turn.num_utterances
                self.scaler.scale(losses.total * weight).backward()
            done.append((batch, losses))
        return self._step(done, turn)

    def _step(self, done, turn):
        """Clip, step, and count what was done; an update that is not finite is skipped on all ranks alike."""
        self.scaler.unscale_(self.optimizer)
        grad_norm = torch.nn.utils.clip_grad_norm_(
            self.model.parameters(), self.options.optim.clip_norm, foreach=True
        ).item()
        if math.isfinite(grad_norm):
            self.bad_updates = 0
            commit_statistics(self.model, self.world.all_reduce)
            self.scaler.step(self.optimizer)
            if not turn.spare:
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

    def _finish_epoch(self, epoch):
        """Dev WER of a finished epoch, and the checkpoints that are kept."""
        result = evaluate(
            self.model, self.manifests["dev"], self.tokenizer, self.options.batch.max_duration, self.world
        )
        if self.world.is_main:
            self.log.info(
                "epoch %d: dev %s, %.1f %% of labels are blank", epoch, result.summary, 100 * result.blank_share
            )
            self.log.info("  ref: %s", result.reference)
            self.log.info("  hyp: %s", result.hypothesis)
            step = self.position.step
            self.events.scalars(step, dev__wer=result.wer, dev__blank_share=result.blank_share)
            self.events.text(step, "dev/sample", f"ref: {result.reference}\n\nhyp: {result.hypothesis}")
            append_json_line(
                self.exp_dir / "epochs.jsonl",
                {"epoch": epoch, "step": step, "dev_wer": result.wer, "blank_share": result.blank_share},
            )
            keep = self.options.train
            remove_old(
                self.exp_dir,
                keep.keep_last_k,
                keep.keep_last_epochs,
                keep.keep_best_epochs,
                {e: r["dev_wer"] for e, r in read_epochs(self.exp_dir).items()},
            )
        self.world.barrier()

    def _plan(self, epoch):
        batch = self.options.batch
        return plan_epoch(
            self.manifests["train"].durations, batch.max_duration, batch.seed, epoch, epoch <= batch.short_first_epochs
        )

    def _progress(self, plan):
        """Share of the whole training that is done."""
        return (self.position.epoch - 1 + self.position.batch / len(plan)) / self.options.train.num_epochs

    def _save(self, path):
        if self.world.is_main:
            save_checkpoint(
                path,
                {
                    "model": self.model.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "scaler": self.scaler.state_dict(),
                    "position": vars(self.position),
                    "identity": self.identity,
                },
            )
            self.log.info("saved %s", path)

    def _resume(self):
        """Continue from `--start-epoch`, or from the newest checkpoint of the folder, or begin."""
        start_epoch = self.options.train.start_epoch
        if start_epoch == 1:
            found = None
        elif start_epoch > 1:
            path = self.exp_dir / f"epoch-{start_epoch - 1}.pt"
            found = path, load_checkpoint(path)
        else:
            found = newest_checkpoint(self.exp_dir, self.log.warning)
        if found is None:
            if numbered(self.exp_dir, "epoch") and start_epoch != 1:
                raise UserError(f"{self.exp_dir}: no checkpoint in it can be read; remove them to begin anew")
            return
        path, state = found
        wanted = dict(self.identity)
        if state["position"]["batch"] == 0:
            wanted["plan"] = state["identity"]["plan"]  # between epochs any plan will do
        check_fits(path, state["identity"], wanted)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.position = Position(**state["position"])
        self.log.info("continuing from %s: epoch %d, micro-batch %d, update %d", path, *vars(self.position).values())


def _seed(seed, epoch, position):
    """A 63-bit seed for torch, different for each place in the run."""
    return int(np.random.SeedSequence([seed, epoch, position]).generate_state(1, np.uint64)[0] >> np.uint64(1))
