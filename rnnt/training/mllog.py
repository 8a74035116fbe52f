"""The log of an MLPerf Training run of the RNN-T benchmark: `:::MLLOG` lines on the output.

The lines are those that the package mlperf-logging writes; its `compliance_checker --usage training --ruleset 3.1.0`
reads them. What they say comes from the options of the run, whether or not the rules of the benchmark allow it.
"""

import json
import os
import platform
import time

from rnnt.data.plan import plan_training
from rnnt.errors import UserError
from rnnt.training.observers import Observer

POINT, START, END = "POINT_IN_TIME", "INTERVAL_START", "INTERVAL_END"


def line(key, value=None, event=POINT, seconds=None, **metadata):
    """One line of the log; `seconds` is the time of what happened, the present by default."""
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

    config: `MllogConfig`; options: `Options` of rnnt.train; began: when the process began, in seconds of the epoch.
    Raises `UserError` where an update has no fixed number of utterances.
    """

    def __init__(self, config, options, began=None):
        if not options.batch.batch_size:
            raise UserError("--mllog needs --batch-size: an MLPerf update has a fixed number of utterances")
        self.config, self.options = config, options
        self.began = time.time() if began is None else began
        self.trainer = self.global_batch = None
        self.epoch_began = (0.0, 0)  # time and updates made

    def _write(self, *arguments, **keywords):
        print(line(*arguments, **keywords), flush=True)

    def run_start(self, trainer):
        """What the run is; then the clock starts, before the first utterance is read."""
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
        durations = trainer.manifests["train"].durations
        train_samples = len(plan_training(options.batch, durations, 1, group)) * options.batch.batch_size
        self._write("train_samples", train_samples)
        self._write("eval_samples", len(trainer.manifests["dev"]))
        self._write("number_of_ranks", trainer.world.size)
        for key, value in describe(options).items():
            self._write(key, value)
        self._write("global_batch_size", self.global_batch)
        self._write("init_stop", event=END)
        self._write("run_start", event=START)

    def epoch_start(self, epoch):
        """Called by the trainer."""
        self.epoch_began = time.time(), self.trainer.position.step
        self._write("epoch_start", event=START, epoch_num=epoch)

    def epoch_end(self, epoch):
        """Called by the trainer. Utterances a second are those of all ranks together."""
        began, step = self.epoch_began
        utterances = (self.trainer.position.step - step) * self.global_batch
        self._write("epoch_stop", event=END, epoch_num=epoch)
        self._write("tracked_stats", {"throughput": round(utterances / (time.time() - began), 3)}, step=epoch)

    def eval_start(self, epoch):
        """Called by the trainer."""
        self._write("eval_start", event=START, epoch_num=epoch)

    def eval_end(self, epoch, result):
        """Called by the trainer. The accuracy is the WER as a fraction."""
        self._write("eval_accuracy", result.wer / 100, epoch_num=epoch)
        self._write("eval_stop", event=END, epoch_num=epoch)

    def run_end(self, success):
        """Called by the trainer."""
        self._write("run_stop", event=END, status="success" if success else "aborted")


def describe(options):
    """Keys and values of the log that the options of a run alone determine."""
    train, batch, augment, optim = options.train, options.batch, options.augment, options.optim
    values = {
        "seed": batch.seed,
        "data_synthetic": bool(options.synthetic.synthetic),
        "precision": train.precision,
        "gradient_accumulation_steps": train.accum_grad,
        "opt_name": optim.optimizer,
        "opt_base_learning_rate": optim.base_lr,
        "opt_weight_decay": optim.weight_decay,
        "opt_gradient_clip_norm": optim.clip_norm,
        "model_weights_initialization_scale": options.model.lstm_init_scale,
        "model_eval_ema_factor": train.ema_decay,
        "eval_max_prediction_symbols": options.search.max_sym_per_utt,
        "data_train_max_duration": batch.max_duration_utt,
        "data_train_num_buckets": batch.num_buckets,
        **_augmentation(augment),
    }
    if optim.optimizer == "lamb":
        values.update(opt_lamb_epsilon=optim.eps, opt_lamb_beta_1=optim.beta1, opt_lamb_beta_2=optim.beta2)
    if optim.schedule == "hold":
        # The decay is exponential, in spite of the name of its key.
        values.update(
            opt_learning_rate_warmup_epochs=optim.warmup_epochs,
            opt_lamb_learning_rate_hold_epochs=optim.hold_epochs,
            opt_lamb_learning_rate_decay_poly_power=optim.lr_gamma,
            opt_lamb_learning_rate_min=optim.min_lr,
            opt_learning_rate_alt_decay_func=True,
            opt_learning_rate_alt_warmup_func=True,
        )
    return values


def _augmentation(augment):
    """Speed as the factor on an utterance's length, masks as widths in bins and as a share of the frames."""
    lengths = [round(1 / speed, 2) for speed in augment.speed_range or augment.speed_factors] or [1.0]
    features, frames = (augment.num_feature_masks, augment.num_frame_masks) if augment.enable_spec_aug else (0, 0)
    return {
        # The key is spelled so.
        "data_speed_perturbaton_min": min(lengths),
        "data_speed_perturbaton_max": max(lengths),
        "data_spec_augment_freq_n": features,
        "data_spec_augment_freq_min": 0,
        "data_spec_augment_freq_max": augment.features_mask_size if features else 0,
        "data_spec_augment_time_n": frames,
        "data_spec_augment_time_min": 0,
        "data_spec_augment_time_max": round(augment.max_frames_mask_fraction / frames, 6) if frames else 0,
    }
