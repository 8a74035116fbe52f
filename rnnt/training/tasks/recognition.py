"""The task of a recogniser: utterances and their texts, measured by the WER of a search on the dev set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from rnnt.data.dataset import Batch, PlannedBatches
from rnnt.data.plan import plan_training
from rnnt.errors import shortened
from rnnt.model.objectives.base import Utterances
from rnnt.model.regularisers.schedule import adjusted_batch_count
from rnnt.search.needs import default_search
from rnnt.training.evaluate import evaluate
from rnnt.training.experiment import check_compatible
from rnnt.training.tasks.base import Evaluation, Plan

if TYPE_CHECKING:
    import torch

    from rnnt.distributed.world import World
    from rnnt.model.objectives.base import TrainingModel
    from rnnt.training.config import Options
    from rnnt.training.data import TrainingData


class RecognitionTask:
    """See `Task`.

    Args:
        options: of the run.
        model: the `TrainingModel`, on the device of the world.
        data: what it is trained and measured on.
        fingerprint: what a checkpoint must share with this run.
    """

    unit: ClassVar[tuple[str, str]] = ("s of audio", "audio_seconds")

    def __init__(self, options: Options, model: TrainingModel, data: TrainingData, fingerprint: dict[str, Any]) -> None:
        self.options, self.model, self.data, self.fingerprint = options, model, data, fingerprint
        self.search = default_search(model.searched(), options.search)
        self.target, self.scans = options.train.stop_at_wer, options.train.scan_batches

    def plan(self, epoch: int, group: int) -> tuple[Plan, PlannedBatches]:
        """The micro-batches of an epoch, and the dataset that loads them."""
        batch, manifest, loader = self.options.batch, self.data.train, self.data.train_loader
        plan = plan_training(batch, manifest.durations, epoch, group, manifest.epoch(batch.seed, epoch))
        copies = max(loss.copies for loss in self.options.loss.loss)
        return plan, PlannedBatches(manifest, plan, loader, self.data.tokenizer, batch.seed, epoch, copies)

    def weight(self, micro_batch: np.ndarray) -> int:
        """Its utterances."""
        return len(micro_batch)

    def inputs(self, batch: Batch, device: torch.device) -> Utterances:
        """The tensors, with features and tokens on the device."""
        y_BS, y_len_B = batch.targets()
        x_BTF, y_BS = (tensor.to(device, non_blocking=True) for tensor in (batch.x_BTF, y_BS))
        return Utterances(x_BTF, batch.x_len_B, y_BS, y_len_B)

    def batch_count(self, step: int, group: int) -> float:
        """See `adjusted_batch_count`."""
        train, seconds = self.options.train, self.options.batch.max_duration * group
        return adjusted_batch_count(step, seconds, bool(train.init_from), train.ref_duration)

    def evaluate(self, model: TrainingModel, world: World, before_batch: Callable[[], None]) -> Evaluation:
        """The WER of each dev set; the first is the one that counts."""
        batch, search = self.options.batch, self.search
        results = {
            name: evaluate(
                model.searched() if search.head else model.network,
                self.data,
                manifest,
                batch.max_duration,
                world,
                before_batch=before_batch,
                config=search,
                num_workers=batch.num_workers,
            )
            for name, manifest in self.data.dev.items()
        }
        result, *others = results.values()
        lines = [
            f"{name} {found.summary}, {100 * found.blank_fraction:.1f} % of tokens are blank"
            for name, found in (results.items() if others else [("dev", result)])
        ]
        found = {"wer": result.wer, "cer": result.cer, "blank_fraction": result.blank_fraction}
        wers = {name: found.wer for name, found in results.items()} if others else {}
        return Evaluation(
            result,
            [*lines, f"  ref: {shortened(result.reference)}", f"  hyp: {shortened(result.hypothesis)}"],
            {**found, "ref": result.reference, "hyp": result.hypothesis, **({"wers": wers} if wers else {})},
            {"dev_wer": result.wer, "blank_fraction": result.blank_fraction, **({"dev_wers": wers} if wers else {})},
        )

    def check_compatible(self, path: Path, stored: dict[str, Any], wanted: dict[str, Any]) -> None:
        """See `rnnt.training.experiment.check_compatible`."""
        check_compatible(path, stored, wanted)
