"""From checkpoints to the model that is used: averages of weights, with batch statistics that fit them."""

import hashlib
from pathlib import Path

import torch

from rnnt.data.config import AugmentConfig, BatchConfig, FeatureConfig
from rnnt.data.dataset import Batches, PlannedBatches
from rnnt.data.manifest import CutManifest
from rnnt.data.plan import plan_epoch
from rnnt.errors import UserError
from rnnt.files import read_json
from rnnt.model.batchnorm import commit_statistics, drop_statistics, has_statistics
from rnnt.model.config import LossConfig, ModelConfig
from rnnt.model.transducer import Transducer
from rnnt.options import from_dict
from rnnt.progress import progress
from rnnt.text.tokenizer import Tokenizer
from rnnt.training.checkpoint import load_checkpoint, numbered, save_checkpoint
from rnnt.training.metrics import read_epochs
from rnnt.training.running_average import mean_between

STATISTICS_EPOCH = 0  # the plan of no training epoch: epochs count from 1


def choose(selection, exp_dir):
    """The checkpoint files whose weights a `Selection` averages, and a short name for it."""
    if selection.best:
        epochs = _epochs(exp_dir)
        wers = {e: r["dev_wer"] for e, r in read_epochs(exp_dir).items() if e in epochs}
        if len(wers) < selection.best:
            raise UserError(
                f"{exp_dir}: --best {selection.best}, but only {len(wers)} scored epochs are kept; "
                "lower it or train with a larger --keep-best-epochs"
            )
        chosen = sorted(wers, key=lambda e: (wers[e], -e))[: selection.best]
        return [epochs[e] for e in sorted(chosen)], f"best-{selection.best}"
    kind, there, numbers, name = _range(selection, exp_dir)
    return [_existing(exp_dir, kind, there, n) for n in numbers], name


def ends_of_range(selection, exp_dir):
    """`([checkpoint before the range, checkpoint at its end], name)`; the first is absent at the start of training."""
    kind, there, numbers, name = _range(selection, exp_dir)
    if kind == "epoch":
        first = numbers[0] - 1
    else:
        first = max((n for n in there if n < numbers[0]), default=0)
    ends = [n for n in (first, numbers[-1]) if n]
    return [_existing(exp_dir, kind, there, n) for n in ends], f"{name}-averaged"


def _epochs(exp_dir):
    epochs = numbered(exp_dir, "epoch")
    if not epochs:
        raise UserError(f"{exp_dir}: no epoch-N.pt in it; train first")
    return epochs


def _range(selection, exp_dir):
    """`(kind, {number: path} of all there are, the numbers selected, name)` by --iter, --epoch and --avg."""
    if selection.iter:
        there = numbered(exp_dir, "checkpoint")
        _existing(exp_dir, "checkpoint", there, selection.iter)
        numbers = [n for n in there if n <= selection.iter][-selection.avg :]
        if len(numbers) < selection.avg:
            raise UserError(
                f"{exp_dir}: --avg {selection.avg}, but only {len(numbers)} checkpoint-N.pt up to {selection.iter} "
                "are kept; lower it or train with a larger --keep-last-k"
            )
        return "checkpoint", there, numbers, f"iter-{selection.iter}-avg-{selection.avg}"
    there = _epochs(exp_dir)
    last = selection.epoch or max(there)
    return "epoch", there, range(max(1, last - selection.avg + 1), last + 1), f"epoch-{last}-avg-{selection.avg}"


def _existing(exp_dir, kind, there, number):
    if number not in there:
        keep = "--keep-last-epochs" if kind == "epoch" else "--keep-last-k"
        raise UserError(
            f"{exp_dir}: {kind}-{number}.pt is not there (kept: {', '.join(map(str, there)) or 'none'}); "
            f"choose others, or train with a larger {keep}"
        )
    return there[number]


def average_states(states):
    """Mean of the floating-point tensors of several `state_dict`s, in double; the rest comes from the last one."""
    mean = dict(states[-1])
    for name, value in mean.items():
        if value.is_floating_point():
            mean[name] = (sum(state[name].double() for state in states) / len(states)).to(value.dtype)
    return mean


def load_for_decoding(exp_dir, selection, manifest_dir=None, num_batches=60):
    """The model that `selection` names, in evaluation mode on the CPU.

    Averaged weights meet other activations than those whose statistics batch normalisation has stored, so the
    statistics are taken anew over up to `num_batches` micro-batches of the training set. The result is kept as
    `<exp_dir>/averaged-<name>.pt` and used again while the checkpoints stay the same. The moving average of a
    checkpoint stands for its weights where it has one (unless `selection.use_ema` is false).

    Args:
      exp_dir: the experiment folder.
      selection: `Selection`.
      manifest_dir: where the training cuts are; None: where training found them.
    Returns:
      `(model, FeatureConfig, Tokenizer, name of the selection)`.
    """
    exp_dir = Path(exp_dir)
    paths, name = (ends_of_range if selection.use_averaged_model else choose)(selection, exp_dir)
    record = read_json(exp_dir / "config.json")
    features = from_dict(FeatureConfig, record["features"], exp_dir / "config.json")
    tokenizer = Tokenizer.load(exp_dir / "bpe.model")
    model = Transducer(
        from_dict(ModelConfig, record["model"], exp_dir / "config.json"),
        from_dict(LossConfig, record["loss"], exp_dir / "config.json"),
    )
    states = [load_checkpoint(path) for path in paths]
    if not selection.use_averaged_model:
        part = "ema" if selection.use_ema and all("ema" in state for state in states) else "model"
        name = f"{name}-ema" if part == "ema" else name
        if len(states) == 1:
            model.load_state_dict(states[0][part])
            return model.eval(), features, tokenizer, name
    kept, stamp = exp_dir / f"averaged-{name}.pt", _stamp(paths)
    if kept.exists():
        state = load_checkpoint(kept)
        if state["stamp"] == stamp:
            model.load_state_dict(state["model"])
            return model.eval(), features, tokenizer, name
    if selection.use_averaged_model:
        model.load_state_dict(_average_of_range(paths, states))
    else:
        model.load_state_dict(average_states([state[part] for state in states]))
    if has_statistics(model):
        _estimate_statistics(model, record, manifest_dir or record["train"]["manifest_dir"], num_batches)
    save_checkpoint(kept, {"model": model.state_dict(), "stamp": stamp})
    return model.eval(), features, tokenizer, name


def _average_of_range(paths, states):
    """The weights averaged over the updates between two checkpoints, or up to the only one."""
    for path, state in zip(paths, states):
        if not state.get("average", {}).get("count"):
            raise UserError(
                f"{path}: no snapshot of the weights for --use-averaged-model in it; leave the option out or train "
                "with a smaller --average-period"
            )
    *earlier, later = states
    try:
        mean = mean_between(later["average"], *(state["average"] for state in earlier))
    except ValueError as error:
        raise UserError(f"{paths[0]} and {paths[-1]}: {error}") from None
    return {name: mean[name].to(value.dtype) if name in mean else value for name, value in later["model"].items()}


def _stamp(paths):
    text = " ".join(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in paths)
    return hashlib.sha256(text.encode()).hexdigest()


@torch.no_grad()
def _estimate_statistics(model, record, manifest_dir, num_batches):
    """Take the statistics of batch normalisation anew, over the same micro-batches for everybody."""
    batch = BatchConfig(**record["batch"])
    manifest = CutManifest(Path(manifest_dir) / f"{record['train']['train_set']}.jsonl")
    plan = plan_epoch(manifest.durations, batch.max_duration, batch.seed, STATISTICS_EPOCH)
    mean = model.feature_mean.numpy().copy()
    config = AugmentConfig(**record["augment"])
    dataset = PlannedBatches(
        manifest, plan, augment_config=config, fill_F=mean, seed=batch.seed, epoch=STATISTICS_EPOCH
    )
    drop_statistics(model)
    model.train()
    positions = range(min(num_batches, len(plan)))
    for one in progress(Batches(dataset, positions, batch.num_workers), len(positions), "batch statistics", "batch"):
        torch.manual_seed(one.position)
        model.encode(one.x_BTF, one.x_len_B)
    commit_statistics(model, momentum=1.0)
