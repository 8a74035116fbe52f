"""From checkpoints to the model that is used: averages of weights, with batch statistics that fit them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rnnt.checkpoints.config import Selection
from rnnt.checkpoints.epochs import measure_of, read_epochs
from rnnt.checkpoints.files import damaged, load_checkpoint, load_training, numbered, save_checkpoint
from rnnt.checkpoints.running_average import mean_between
from rnnt.checkpoints.schema import fit_fault, weights_fault
from rnnt.data.config import AugmentConfig, BatchConfig, FeatureConfig, read_feature_config
from rnnt.data.dataset import Batches, PlannedBatches
from rnnt.data.feature_loader import FeatureLoader
from rnnt.data.plan import plan_training
from rnnt.data.sets.config import NO_FETCH, FetchConfig, MixConfig
from rnnt.data.sets.opening import open_mixture
from rnnt.errors import UserError
from rnnt.files import file_sha256, read_json_object
from rnnt.model.batchnorm import commit_statistics, discard_pending_statistics, statistics
from rnnt.model.config import ModelConfig
from rnnt.model.encoders.adapter import adapters, without_adapters
from rnnt.model.low_rank import merged
from rnnt.model.objectives import OBJECTIVES, make_heads, search_configs
from rnnt.model.transducer import Transducer
from rnnt.options import from_dict
from rnnt.progress import progress
from rnnt.text.tokenizer import Tokenizer

STATISTICS_EPOCH = 0  # the plan of no training epoch: epochs count from 1


def choose(selection: Selection, exp_dir: str | Path) -> tuple[list[Path], str]:
    """The checkpoint files whose weights a `Selection` averages, and a short name for it."""
    if selection.best:
        epochs = _epochs(exp_dir)
        measures = {e: measure_of(r) for e, r in read_epochs(exp_dir).items() if e in epochs}
        if len(measures) < selection.best:
            raise UserError(
                f"{exp_dir}: --best {selection.best}, but only {len(measures)} scored epochs are kept; "
                "lower it or train with a larger --keep-best-epochs"
            )
        chosen = sorted(measures, key=lambda e: (measures[e], -e))[: selection.best]
        return [epochs[e] for e in sorted(chosen)], f"best-{selection.best}"
    kind, there, numbers, name = _range(selection, exp_dir)
    return [_existing(exp_dir, kind, there, n) for n in numbers], name


def ends_of_range(selection: Selection, exp_dir: str | Path) -> tuple[list[Path], str]:
    """`([checkpoint before the range, checkpoint at its end], name)`; the first is absent at the start of training."""
    kind, there, numbers, name = _range(selection, exp_dir)
    if kind == "epoch":
        first = numbers[0] - 1
    else:
        first = max((n for n in there if n < numbers[0]), default=0)
    ends = [n for n in (first, numbers[-1]) if n]
    return [_existing(exp_dir, kind, there, n) for n in ends], f"{name}-averaged"


def _epochs(exp_dir: str | Path) -> dict[int, Path]:
    epochs = numbered(exp_dir, "epoch")
    if not epochs:
        updates = numbered(exp_dir, "checkpoint")
        remedy = f"take --iter {max(updates)}, of checkpoint-{max(updates)}.pt" if updates else "train first"
        raise UserError(f"{exp_dir}: no epoch-N.pt in it; {remedy}")
    return epochs


def _range(selection: Selection, exp_dir: str | Path) -> tuple[str, dict[int, Path], Sequence[int], str]:
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


def _existing(exp_dir: str | Path, kind: str, there: dict[int, Path], number: int) -> Path:
    if number not in there:
        keep = "--keep-last-epochs" if kind == "epoch" else "--keep-last-k"
        raise UserError(
            f"{exp_dir}: {kind}-{number}.pt is not there (kept: {', '.join(map(str, there)) or 'none'}); "
            f"choose others, or train with a larger {keep}"
        )
    return there[number]


def average_states(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Mean of the floating-point tensors of several `state_dict`s, in double; the rest comes from the last one."""
    mean = dict(states[-1])
    for name, value in mean.items():
        if value.is_floating_point():
            total = sum((state[name].double() for state in states), torch.zeros((), dtype=torch.float64))
            mean[name] = (total / len(states)).to(value.dtype)
    return mean


@dataclass(frozen=True)
class TrainedModel:
    """A model with all that recognition needs of its training.

    Attributes:
        network: in evaluation mode on the CPU, with the heads that a search can use, or with those of all losses.
        features: its front-end.
        tokenizer: its tokens.
        name: which checkpoints made it, such as `epoch-30-avg-5`.
    """

    network: Transducer
    features: FeatureConfig
    tokenizer: Tokenizer
    name: str


def load_for_decoding(
    exp_dir: str | Path,
    selection: Selection,
    manifest_dir: str | Path | None = None,
    num_batches: int = 60,
    all_losses: bool = False,
    fetch: FetchConfig = NO_FETCH,
) -> TrainedModel:
    """The model that `selection` names.

    Averaged weights meet other activations than those whose statistics batch normalisation has stored, so the
    statistics are taken again over up to `num_batches` micro-batches of the training set. The result is kept as
    `<exp_dir>/averaged-<name>.pt` and used again while the checkpoints stay the same. The moving average of a
    checkpoint stands for its weights where it has one (unless `selection.use_ema` is false).

    Args:
        exp_dir: the experiment folder.
        selection: which checkpoints.
        manifest_dir: where the training cuts are; None: where training found them.
        num_batches: micro-batches for the statistics.
        all_losses: `network.heads` holds every loss of the training, also those that no search uses.
        fetch: what may be run and fetched to read the training set; what the training was allowed does not count.
    """
    exp_dir = Path(exp_dir)
    paths, name = (ends_of_range if selection.use_averaged_model else choose)(selection, exp_dir)
    states = [load_training(path) for path in paths]
    network, features, tokenizer = describe(paths, states, exp_dir / "bpe.model", all_losses)
    heads = network.heads
    weights, use_ema = weights_of(selection, states, heads)
    name = f"{name}-ema" if use_ema else name
    kept, stamp = exp_dir / f"averaged-{name}{'-losses' if all_losses else ''}.pt", _stamp(paths)
    average = _kept_average(kept, stamp, network)
    if len(states) == 1 and not selection.use_averaged_model:
        network.load_state_dict(weights[0])
    elif average is not None:
        network.load_state_dict(average)
    else:
        mean = average_of_range(paths, states, heads) if selection.use_averaged_model else average_states(weights)
        network.load_state_dict(mean)
        # Where the weights of batch normalisation are frozen its statistics are, and training used them.
        if any(not torch.equal(mean[name], weights[-1][name]) for name in statistics(network)):
            _estimate_statistics(network, exp_dir / "config.json", manifest_dir, num_batches, fetch)
        save_checkpoint(kept, {"model": network.state_dict(), "stamp": stamp})
    if not selection.use_adapters:
        if not adapters(network):
            raise UserError(f"{exp_dir}: --use-adapters false, but the model has none; leave the option out")
        network, name = without_adapters(network), f"{name}-without-adapters"
    return TrainedModel(network.eval(), features, tokenizer, name)


def describe(
    paths: Sequence[Path], states: Sequence[dict[str, Any]], bpe_model: str | Path, all_losses: bool = False
) -> tuple[Transducer, FeatureConfig, Tokenizer]:
    """Network, front-end and tokenizer of checkpoints, as they say it themselves.

    Args:
        paths: of the checkpoints, for messages.
        states: what they hold.
        bpe_model: the file beside them; it is proven to be theirs.
        all_losses: the network gets the heads of all losses.

    Raises:
        UserError: they are of several trainings, their weights do not fit, or the tokenizer is another one.
    """
    last = states[-1]["fingerprint"]
    wanted = identity(paths[-1], last)
    for path, state in zip(paths, states):
        if identity(path, state["fingerprint"]) != wanted:
            raise UserError(
                f"{path}: from another training than {paths[-1]} (model, front-end or tokens differ); choose other "
                "checkpoints"
            )
    model, features, tokens = wanted
    network = Transducer(model)
    # Before "heads" there were names alone, and a head of that name has the same layers with other options.
    losses = last.get("heads", [{"name": name} for name in last["losses"]])
    heads = search_configs(losses, paths[-1])
    if all_losses:  # whose layers do not depend on options
        heads += [OBJECTIVES.config(name)() for name in last["losses"] if name not in {head.name for head in heads}]
    network = network.with_heads(make_heads(network, heads))
    for path, state in zip(paths, states):
        for weights in (state, state.get("ema", state)):
            fault = fit_fault(searched_weights(weights, network.heads), network.state_dict())
            if fault:
                raise damaged(path, fault)
    tokenizer = Tokenizer.load(bpe_model)
    if file_sha256(tokenizer.model_path) != tokens:
        raise UserError(
            f"{tokenizer.model_path}: not the tokenizer that {paths[-1]} was trained with; put that one there"
        )
    return network, features, tokenizer


def identity(path: Path, fingerprint: dict[str, Any]) -> tuple[ModelConfig, FeatureConfig, str]:
    """What a checkpoint says it is a model of; options that came later had their defaults when it was written."""
    config = fingerprint["config"]
    if "language_model" in config:
        raise UserError(f"{path}: it is of a language model, and a recogniser is asked for; choose another folder")
    model, features = from_dict(ModelConfig, config["model"], path), from_dict(FeatureConfig, config["features"], path)
    return model, features, fingerprint["tokenizer"]


def _kept_average(path: Path, stamp: str, network: Transducer) -> dict[str, Tensor] | None:
    """The weights of an average that was made before of the same checkpoints; None where there are none that fit."""
    try:
        kept = load_checkpoint(path) if path.is_file() else None
    except UserError:
        return None  # it is made again
    if not isinstance(kept, dict) or kept.get("stamp") != stamp:
        return None
    weights: dict[str, Tensor] = kept.get("model", {})
    return None if weights_fault(weights) or fit_fault(weights, network.state_dict()) else weights


def searched_weights(state: dict[str, Any], heads: Iterable[str]) -> dict[str, Tensor]:
    """The weights of a checkpoint by their names in `TrainingModel.searched`: network and heads."""
    names = set(heads)
    of_heads = {name: value for name, value in state.get("objectives", {}).items() if name.partition(".")[0] in names}
    return {**merged(state["model"]), **{f"heads.{name}": value for name, value in of_heads.items()}}


def weights_of(
    selection: Selection, states: Sequence[dict[str, Any]], heads: Iterable[str]
) -> tuple[list[dict[str, Tensor]], bool]:
    """The weights of each checkpoint, and whether they are those of its moving average, as `selection` wants them."""
    use_ema = selection.use_ema and not selection.use_averaged_model and all("ema" in state for state in states)
    return [searched_weights(state["ema"] if use_ema else state, heads) for state in states], use_ema


def average_of_range(
    paths: Sequence[Path], states: Sequence[dict[str, Any]], heads: Iterable[str]
) -> dict[str, Tensor]:
    """The weights averaged over the updates between two checkpoints, or up to the only one there is."""
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
    last = searched_weights(later, heads)
    return {name: mean[name].to(value.dtype) if name in mean else value for name, value in last.items()}


def _stamp(paths: Sequence[Path]) -> str:
    text = " ".join(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in paths)
    return hashlib.sha256(text.encode()).hexdigest()


@torch.no_grad()
def _estimate_statistics(
    model: Transducer, where: Path, manifest_dir: str | Path | None, num_batches: int, fetch: FetchConfig
) -> None:
    """Take the statistics of batch normalisation again, over the same micro-batches for everybody.

    Which ones they are, `where` says: the config.json of the training.
    """
    record = read_json_object(where, "batch", "train", "augment")
    batch = from_dict(BatchConfig, record["batch"], where)
    train = record["train"]
    if not isinstance(train, dict) or not all(isinstance(train.get(n), str) for n in ("train_set", "manifest_dir")):
        raise UserError(f"{where}: train names no set of training cuts; it is not from a training")
    folder, mix = Path(manifest_dir or train["manifest_dir"]), from_dict(MixConfig, record.get("mix", {}), where)
    manifest = open_mixture(folder, train["train_set"], mix, fetch=fetch)
    windows = manifest.epoch(batch.seed, 1)
    batch = replace(batch, batch_size=0, max_duration_utt=0.0, short_first_epochs=0)
    plan = plan_training(batch, manifest.durations, STATISTICS_EPOCH, 1, windows)
    mean = model.feature_mean.numpy().copy()
    config = from_dict(AugmentConfig, record["augment"], where)
    loader = FeatureLoader(read_feature_config(folder / "features.json"), config, mean)
    dataset = PlannedBatches(manifest, plan, loader, seed=batch.seed, epoch=STATISTICS_EPOCH)
    discard_pending_statistics(model)
    model.train()
    positions = range(min(num_batches, len(plan)))
    for one in progress(Batches(dataset, positions, batch.num_workers), len(positions), "batch statistics", "batch"):
        torch.manual_seed(one.position)
        model.encode(one.x_BTF, one.x_len_B)
    commit_statistics(model, momentum=1.0)
