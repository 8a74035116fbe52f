"""The log of an MLPerf Training run of the RNN-T benchmark: `:::MLLOG` lines on the output.

The lines are those that the package mlperf-logging writes; its `compliance_checker --usage training --ruleset 3.1.0`
reads them. What they say comes from the options of the run, whether or not the rules of the benchmark allow it.
Free of torch, so that --help is quick.
"""

import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rnnt.errors import UserError
from rnnt.options import option
from rnnt.training.observers import Observer, Run

if TYPE_CHECKING:
    from rnnt.training.config import Options
    from rnnt.training.evaluate import DevResult

POINT, START, END = "POINT_IN_TIME", "INTERVAL_START", "INTERVAL_END"


@dataclass(frozen=True)
class MllogConfig:
    """Log of an MLPerf run."""

    mllog: bool = option(False, "write the `:::MLLOG` lines of MLPerf Training to the output")
    mllog_org: str = option("unnamed", "who ran it")
    mllog_platform: str = option("", "the system it ran on (default: name of the machine)")
    mllog_division: str = option("open", "division of the rules", choices=["closed", "open"])
    mllog_status: str = option("research", "kind of system", choices=["onprem", "cloud", "preview", "research"])
    mllog_cache_cleared: bool = option(False, "say that the page cache was cleared before")


def make_observer(config: MllogConfig, options: "Options") -> "MlperfLog | None":
    """The log of a run, where its options ask for one."""
    return MlperfLog(config, options) if config.mllog else None


def line(key: str, value: Any = None, event: str = POINT, seconds: float | None = None, **metadata: Any) -> str:
    """One line of the log; `seconds` is the time of the event, the present by default."""
    record = {
        "namespace": "",
        "time_ms": int(1000 * (time.time() if seconds is None else seconds)),
        "event_type": event,
        "key": key,
        "value": value,
        "metadata": {"file": os.path.basename(__file__), "lineno": 0, **metadata},
    }
    return f":::MLLOG {json.dumps(record)}"


class MlperfLog(Observer):
    """Writes the log of one run.

    Args:
        config: options of the log.
        options: options of the run.
        began: when the process began, in seconds since the epoch; None: now.

    Raises:
        UserError: when an update has no fixed number of utterances.
    """

    trainer: Run

    def __init__(self, config: MllogConfig, options: "Options", began: float | None = None) -> None:
        if not options.batch.batch_size:
            raise UserError("--mllog needs --batch-size: an MLPerf update has a fixed number of utterances")
        self.config, self.options = config, options
        self.began = time.time() if began is None else began
        self.global_batch = 0
        self.epoch_began = (0.0, 0)  # time and number of updates made

    def _write(self, key: str, value: Any = None, **keywords: Any) -> None:
        print(line(key, value, **keywords), flush=True)

    def run_start(self, trainer: Run) -> None:
        """Say what the run is; then the clock starts, before the first utterance is read."""
        from rnnt.data.plan import plan_training

        self.trainer = trainer
        config, options = self.config, self.options
        self._write("init_start", event=START, seconds=self.began)
        self._write("cache_clear", config.mllog_cache_cleared)
        self._write("submission_benchmark", "rnnt")
        self._write("submission_org", config.mllog_org)
        self._write("submission_platform", config.mllog_platform or platform.node())
        self._write("submission_division", config.mllog_division)
        self._write("submission_status", config.mllog_status)
        group = trainer.world.size * options.train.accum_grad
        self.global_batch = group * options.batch.batch_size
        durations = trainer.data.train.durations
        train_samples = len(plan_training(options.batch, durations, 1, group)) * options.batch.batch_size
        self._write("train_samples", train_samples)
        self._write("eval_samples", sum(map(len, trainer.data.dev.values())))
        self._write("number_of_ranks", trainer.world.size)
        for key, value in describe(options).items():
            self._write(key, value)
        self._write("global_batch_size", self.global_batch)
        self._write("init_stop", event=END)
        self._write("run_start", event=START)

    def epoch_start(self, epoch: int) -> None:
        """Note the start, from which the throughput of the epoch is counted."""
        self.epoch_began = time.time(), self.trainer.position.step
        self._write("epoch_start", event=START, epoch_num=epoch)

    def epoch_end(self, epoch: int) -> None:
        """Write the throughput: utterances per second of all ranks together."""
        began, step = self.epoch_began
        utterances = (self.trainer.position.step - step) * self.global_batch
        self._write("epoch_stop", event=END, epoch_num=epoch)
        self._write("tracked_stats", {"throughput": round(utterances / (time.time() - began), 3)}, step=epoch)

    def eval_start(self, epoch: int) -> None:
        """Write the start of the evaluation."""
        self._write("eval_start", event=START, epoch_num=epoch)

    def eval_end(self, epoch: int, result: "DevResult") -> None:
        """Write the accuracy, which is the WER as a fraction."""
        self._write("eval_accuracy", result.wer / 100, epoch_num=epoch)
        self._write("eval_stop", event=END, epoch_num=epoch)

    def run_end(self, success: bool) -> None:
        """Stop the clock."""
        self._write("run_stop", event=END, status="success" if success else "aborted")


def describe(options: "Options") -> dict[str, Any]:
    """Keys and values of the log that the options of a run alone determine; all names of options are looked up here."""
    train, batch, augment = options.train, options.batch, options.augment
    optimizer, schedule = options.optim.optimizer, options.optim.schedule
    feature_masks, frame_masks = (
        (augment.num_feature_masks, augment.num_frame_masks) if augment.enable_spec_aug else (0, 0)
    )
    values = {
        "seed": batch.seed,
        "data_synthetic": bool(options.synthetic.synthetic),
        "precision": train.precision,
        "gradient_accumulation_steps": train.accum_grad,
        "opt_name": optimizer.name,
        "opt_base_learning_rate": optimizer.base_lr,
        "opt_weight_decay": getattr(optimizer, "weight_decay", 0.0),
        "opt_gradient_clip_norm": getattr(optimizer, "clip_norm", None),
        "model_weights_initialization_scale": getattr(options.model.encoder, "lstm_init_scale", 1.0),
        "model_eval_ema_factor": train.ema_decay,
        "eval_max_prediction_symbols": options.search.max_sym_per_utt,
        "data_train_max_duration": batch.max_duration_utt,
        "data_train_num_buckets": batch.num_buckets,
        **_describe_speeds(augment.speed_range or augment.speed_factors),
        **_describe_masks("freq", feature_masks, augment.features_mask_size),
        **_describe_masks("time", frame_masks, augment.max_frames_mask_fraction / max(frame_masks, 1)),
    }
    if optimizer.name == "lamb":
        values.update(opt_lamb_epsilon=optimizer.eps, opt_lamb_beta_1=optimizer.beta1, opt_lamb_beta_2=optimizer.beta2)
    if schedule.name == "hold":
        # The decay is exponential, in spite of the name of its key.
        values.update(
            opt_learning_rate_warmup_epochs=schedule.warmup_epochs,
            opt_lamb_learning_rate_hold_epochs=schedule.hold_epochs,
            opt_lamb_learning_rate_decay_poly_power=schedule.lr_gamma,
            opt_lamb_learning_rate_min=schedule.min_lr,
            opt_learning_rate_alt_decay_func=True,
            opt_learning_rate_alt_warmup_func=True,
        )
    return values


def _describe_speeds(speeds: Sequence[float]) -> dict[str, float]:
    """Speeds as factors on the length of an utterance."""
    lengths = [round(1 / speed, 2) for speed in speeds] or [1.0]
    # The key is spelled like this.
    return {"data_speed_perturbaton_min": min(lengths), "data_speed_perturbaton_max": max(lengths)}


def _describe_masks(axis: str, number: int, widest: float) -> dict[str, float]:
    """Number and width of the masks: in bins, or as a fraction of the frames."""
    prefix = f"data_spec_augment_{axis}"
    return {f"{prefix}_n": number, f"{prefix}_min": 0, f"{prefix}_max": round(widest, 6) if number else 0}
