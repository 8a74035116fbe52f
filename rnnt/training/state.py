"""All that a run must remember: written as a checkpoint, and found again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from rnnt.checkpoints.files import FORMAT, damaged, load_training, newest_checkpoint, numbered, save_checkpoint
from rnnt.checkpoints.schema import fit_fault, optimizer_fault
from rnnt.errors import UserError
from rnnt.model.low_rank import merged
from rnnt.model.regularisers.whiten import load_whitening_state, whitening_state

if TYPE_CHECKING:
    from rnnt.checkpoints.running_average import RunningAverage
    from rnnt.distributed.world import World
    from rnnt.model.trainable import Trainable
    from rnnt.training.update import Updater

# Of an optimizer, from the options of a run. The learning rate is set before each update.
OPTIONS = ("betas", "eps", "weight_decay", "clip_norm", "clipping_scale")


@dataclass
class Position:
    """Where a run stands: the next micro-batch (of an epoch, from 1) and the updates made."""

    epoch: int = 1
    batch: int = 0
    step: int = 0


def start_ema(model: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of the weights, beginning with those that `model` has now.

    After each update, e = decay e + (1 - decay) w, without bias correction (Polyak & Juditsky 1992 with exponential
    weights). Statistics of batch normalisation are averaged alike. The average is the attribute `module`.
    """
    ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    ema.update_parameters(model)  # the first call copies
    return ema.eval()


def _weights(model: Trainable) -> dict[str, Any]:
    return {"model": model.network.state_dict(), "objectives": model.objectives.state_dict()}


def _load_weights(model: Trainable, state: dict[str, Any]) -> None:
    model.network.load_state_dict(state["model"])
    model.objectives.load_state_dict(state["objectives"])


class TrainingState:
    """The parts of a run that a checkpoint holds.

    Args:
        updater: with the task, the moving average of its model if there is one, the optimizer and the scaler.
        average: of the weights over the updates, or None.
        plan_length: number of micro-batches of an epoch.
    """

    def __init__(
        self,
        updater: Updater,
        average: RunningAverage | None,
        plan_length: Callable[[int], int],
    ) -> None:
        self.updater = updater
        self.fingerprint = updater.task.fingerprint
        self.plan_length = plan_length
        self.average = average
        self.position = Position()

    def save(self, path: Path) -> None:
        """Write the checkpoint `path`."""
        state = {
            "format": FORMAT,
            **_weights(self.updater.model),
            "optimizer": self.updater.optimizer.state_dict(),
            "scaler": self.updater.scaler.state_dict(),
            "whitening": whitening_state(self.updater.model),
            "position": vars(self.position),
            "fingerprint": self.fingerprint,
        }
        if self.updater.ema is not None:
            state["ema"] = _weights(self.updater.averaged_model())
        if self.average is not None:
            state["average"] = self.average.state_dict()
        save_checkpoint(path, state)

    def resume(self, exp_dir: Path, start_epoch: int, world: World, log: logging.Logger) -> None:
        """Continue from epoch-(start_epoch - 1).pt, with 0 from the newest checkpoint of the folder, or begin.

        Nothing is written. Raises `UserError` where the checkpoint does not go with the options of this run.
        """
        if start_epoch == 1:
            return
        if start_epoch > 1:
            path = exp_dir / f"epoch-{start_epoch - 1}.pt"
            state = load_training(path)
            self._check(path, state)
        else:
            found = newest_checkpoint(exp_dir, log.warning, self._check) if world.is_main else None
            if found is None and world.is_main and numbered(exp_dir, "epoch"):
                raise UserError(f"{exp_dir}: no checkpoint in it can be used; remove them to start again")
            # Rank 0 chooses: a shared file system may show other machines an older state.
            path = world.gather(found and found[0])[0]
            if path is None:
                return
            if found is None:
                state = load_training(path)
                self._check(path, state)
            else:
                state = found[1]
        self._load(path, state, log)
        log.info("continuing from %s: epoch %d, micro-batch %d, update %d", path, *vars(self.position).values())

    def _check(self, path: Path, state: dict[str, Any]) -> None:
        """Raise `UserError` where a checkpoint is of another run, `DamagedCheckpoint` where it contradicts itself."""
        wanted, position = dict(self.fingerprint), state["position"]
        if position["batch"] == 0:
            wanted["plan"] = state["fingerprint"]["plan"]  # between epochs any plan will do
        self.updater.task.check_compatible(path, state["fingerprint"], wanted)
        updater, own = self.updater, _weights(self.updater.model)
        there, now = (str(_normalizes(weights)).lower() for weights in (state["model"], own["model"]))
        if there != now:
            raise UserError(
                f"{path}: --normalize-features is {there} there and {now} now; return to the option of that run, or "
                "choose another --exp-dir"
            )
        options = [set(group) for group in updater.optimizer.state_dict()["param_groups"]]
        if [set(group) for group in state["optimizer"]["param_groups"]] != options:
            raise UserError(
                f"{path}: the optimizer can't continue from its state there, which is not one of "
                f"{type(updater.optimizer).__name__} as it is now; return to the --optimizer and the version of that "
                f"run, or begin with its weights: --init-from {path.parent} and another --exp-dir"
            )
        fault = optimizer_fault(state["optimizer"], updater.optimizer)
        for weights in (state, state.get("ema", state)):
            for part in ("model", "objectives"):
                fault = fault or fit_fault(weights[part], own[part])
        if "average" in state and state["average"]["count"]:
            mean, searched = state["average"]["mean"], merged(updater.model.searched().state_dict())
            # Averages were of the network alone at first.
            wanted_mean = {
                name: value
                for name, value in searched.items()
                if value.is_floating_point() and (name in mean or not name.startswith("heads."))
            }
            fault = fault or fit_fault(mean, wanted_mean)
        if position["batch"] and position["batch"] >= self.plan_length(position["epoch"]):
            fault = fault or f"it stands at micro-batch {position['batch']}, behind the end of its epoch"
        if fault:
            raise damaged(path, fault)

    def _load(self, path: Path, state: dict[str, Any], log: logging.Logger) -> None:
        updater = self.updater
        _load_weights(updater.model, state)
        _load_optimizer(updater.optimizer, state["optimizer"], log)
        if state["scaler"]:  # empty where the run was in another precision
            updater.scaler.load_state_dict(state["scaler"])
        load_whitening_state(updater.model, state.get("whitening", {}))
        self.position = Position(**state["position"])
        if updater.ema is not None:
            if "ema" not in state:
                log.warning("%s holds no average of the weights: --ema-decay begins with its weights", path)
            _load_weights(updater.averaged_model(), state.get("ema", state))
        if self.average is not None and "average" in state:
            self.average.load_state_dict(state["average"])


def _load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any], log: logging.Logger) -> None:
    """Load the state of an optimizer, with the options of this run: those that changed are logged."""
    options = [{name: group[name] for name in OPTIONS if name in group} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    changed = {}
    for group, own in zip(optimizer.param_groups, options):
        changed.update({name: (group[name], value) for name, value in own.items() if group[name] != value})
        group.update(own)
    for name, (before, now) in sorted(changed.items()):
        log.info("%s of the optimizer is %s from here on; it was %s before", name, now, before)


def _normalizes(weights: Mapping[str, Tensor]) -> bool:
    """Whether a network subtracts a mean from its features."""
    return bool(torch.any(weights["feature_mean"] != 0)) if "feature_mean" in weights else False
