"""All that a run must remember: written as a checkpoint, and found again."""

from dataclasses import dataclass

from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from rnnt.errors import UserError
from rnnt.training.checkpoint import load_checkpoint, newest_checkpoint, numbered, save_checkpoint
from rnnt.training.experiment import check_fits


@dataclass
class Position:
    """Where a run stands: the next micro-batch (of an epoch, from 1) and the updates made."""

    epoch: int = 1
    batch: int = 0
    step: int = 0


def start_ema(model, decay):
    """An exponential moving average of the weights, beginning with those that `model` has now.

    After each update, e = decay e + (1 - decay) w, without bias correction (Polyak & Juditsky 1992 with exponential
    weights). Statistics of batch normalisation are averaged alike. The average is the attribute `module`.
    """
    ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    ema.update_parameters(model)  # the first call copies
    return ema.eval()


class TrainingState:
    """The parts of a run that a checkpoint holds.

    Args:
      model, optimizer, scaler: as torch knows them.
      identity: what a checkpoint must share with this run (see `check_fits`).
      ema: what `start_ema` returned, or None.
      average: `RunningAverage`, or None.
    """

    def __init__(self, model, optimizer, scaler, identity, ema=None, average=None):
        self.model = model
        self.optimizer = optimizer
        self.scaler = scaler
        self.identity = identity
        self.ema = ema
        self.average = average
        self.position = Position()

    def save(self, path):
        """Write the checkpoint `path`."""
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "position": vars(self.position),
            "identity": self.identity,
        }
        if self.ema is not None:
            state["ema"] = self.ema.module.state_dict()
        if self.average is not None:
            state["average"] = self.average.state_dict()
        save_checkpoint(path, state)

    def resume(self, exp_dir, start_epoch, world, log):
        """Continue from epoch-(start_epoch - 1).pt, with 0 from the newest checkpoint of the folder, or begin."""
        if start_epoch == 1:
            return
        if start_epoch > 1:
            path = exp_dir / f"epoch-{start_epoch - 1}.pt"
            state = load_checkpoint(path)
        else:
            found = newest_checkpoint(exp_dir, log.warning) if world.is_main else None
            if found is None and world.is_main and numbered(exp_dir, "epoch"):
                raise UserError(f"{exp_dir}: no checkpoint in it can be read; remove them to begin anew")
            # Rank 0 chooses: a shared file system may show other machines an older state.
            path = world.gather(found and found[0])[0]
            if path is None:
                return
            state = found[1] if found else load_checkpoint(path)
        self._load(path, state, log)
        log.info("continuing from %s: epoch %d, micro-batch %d, update %d", path, *vars(self.position).values())

    def _load(self, path, state, log):
        wanted = dict(self.identity)
        if state["position"]["batch"] == 0:
            wanted["plan"] = state["identity"]["plan"]  # between epochs any plan will do
        check_fits(path, state["identity"], wanted)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.position = Position(**state["position"])
        if self.ema is not None:
            if "ema" not in state:
                log.warning("%s holds no average of the weights: --ema-decay begins with its weights", path)
            self.ema.module.load_state_dict(state.get("ema", state["model"]))
        if self.average is not None and "average" in state:
            self.average.load_state_dict(state["average"])
