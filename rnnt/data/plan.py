"""The batch plan: which utterances make which micro-batch, in which order.

A pure function of seed, epoch and durations. An update takes consecutive micro-batches of it: world size times
accumulation. So these two change neither what is seen nor in which order, and a resumed run needs only a position.
Where every micro-batch has the same number of utterances, the plan also depends on how many of them make an update, but
not on how they are divided among the ranks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnt.errors import UserError

if TYPE_CHECKING:
    from rnnt.data.config import BatchConfig

JITTER = 0.1  # added to the log durations before sorting: other neighbours in each epoch, little padding


def longest_allowed(config: BatchConfig) -> float:
    """Seconds; what lasts longer is left out of training."""
    # Durations are stored in single precision: 16.7 must not be longer than 16.7.
    return config.max_duration_utt * (1 + 1e-6) or np.inf


def plan_training(
    config: BatchConfig,
    durations: np.ndarray,
    epoch: int,
    group: int,
    windows: Sequence[np.ndarray] | None = None,
) -> list[np.ndarray]:
    """The micro-batches of a training epoch, according to the options.

    Args:
        config: the options.
        durations: float (N,), seconds.
        epoch: from 1.
        group: micro-batches that make an update, over all ranks.
        windows: integer arrays of utterance numbers: each is planned by itself, one after the other; None: all at once.

    Returns:
        Integer arrays of utterance numbers, one per micro-batch.

    Raises:
        UserError: when the options leave nothing.
    """
    durations = np.asarray(durations)
    longest = longest_allowed(config)
    plan: list[np.ndarray] = []
    for number, window in enumerate([np.arange(len(durations))] if windows is None else windows):
        kept = window[durations[window] <= longest]
        if not len(kept):
            continue
        if config.batch_size:
            batches = plan_fixed(
                durations[kept], config.batch_size, group, config.num_buckets, config.seed, epoch, number
            )
        else:
            short_first = epoch <= config.short_first_epochs
            batches = plan_epoch(durations[kept], config.max_duration, config.seed, epoch, short_first, number)
        plan += [kept[batch] for batch in batches]
    if not plan:
        raise UserError(f"no utterance lasts at most --max-duration-utt {config.max_duration_utt:g} s; raise it")
    return plan


def plan_fixed(
    durations: np.ndarray, batch_size: int, group: int, num_buckets: int, seed: int, epoch: int, window: int = 0
) -> list[np.ndarray]:
    """Micro-batches of `batch_size` utterances each, in complete updates of `group` micro-batches.

    The sampler of the MLPerf RNN-T: the utterances, sorted by duration, are cut into `num_buckets` buckets and shuffled
    within each; random ones are left out until complete updates remain; the updates are shuffled. Each epoch leaves out
    others. Arguments and result are otherwise those of `plan_training`.
    """
    size = batch_size * group
    if len(durations) < size:
        raise UserError(
            f"{len(durations)} training utterances are less than one update of {size} ({group} x --batch-size "
            f"{batch_size}); lower --batch-size, --accum-grad or the number of processes"
        )
    generator = np.random.default_rng([seed, epoch, 0, window])
    buckets = np.array_split(np.argsort(durations, kind="stable"), num_buckets)
    order = np.concatenate([generator.permutation(bucket) for bucket in buckets])
    order = np.delete(order, generator.choice(len(order), len(order) % size, replace=False))
    updates = generator.permutation(order.reshape(-1, size))
    return list(updates.reshape(-1, batch_size))


def plan_epoch(
    durations: np.ndarray, max_duration: float, seed: int, epoch: int, short_first: bool = False, window: int = 0
) -> list[np.ndarray]:
    """The micro-batches of a training epoch.

    Utterances are sorted by duration with some jitter, cut so that count x longest duration stays within
    `max_duration`, and the micro-batches are shuffled. Every utterance comes exactly once; one that is longer than
    `max_duration` makes a micro-batch alone.

    Args:
        durations: float (N,), seconds.
        max_duration: seconds of audio in a micro-batch, padding counted.
        seed: with `epoch` it fixes every draw.
        epoch: see `seed`.
        short_first: leave the micro-batches in the order from short to long.
        window: of the epoch, from 0; see `seed`.

    Returns:
        int64 arrays of utterance numbers, one per micro-batch.
    """
    generator = np.random.default_rng([seed, epoch, 0, window])
    keys = np.log(np.maximum(durations, 1e-3)) + JITTER * generator.random(len(durations))
    batches = cut_batches(np.argsort(keys, kind="stable"), durations, max_duration)
    if short_first:
        return batches
    return [batches[i] for i in generator.permutation(len(batches))]


def plan_evaluation(
    durations: np.ndarray, max_duration: float, windows: Sequence[np.ndarray] | None = None
) -> list[np.ndarray]:
    """Micro-batches from the longest utterances (of each window) to the shortest: a lack of memory shows at once."""
    durations, plan = np.asarray(durations), []
    for window in [np.arange(len(durations))] if windows is None else windows:
        order = window[np.argsort(-durations[window], kind="stable")]
        plan += cut_batches(order, durations, max_duration)
    return plan


def cut_batches(order: np.ndarray, durations: np.ndarray, max_duration: float) -> list[np.ndarray]:
    """Cut the utterances in `order` into runs whose count x longest duration stays within `max_duration`."""
    batches, first, longest = [], 0, 0.0
    for position, duration in enumerate(np.asarray(durations, dtype=np.float64)[order].tolist()):
        longest = max(longest, duration)
        if position > first and longest * (position + 1 - first) > max_duration:
            batches.append(order[first:position])
            first, longest = position, duration
    if first < len(order):
        batches.append(order[first:])
    return batches


@dataclass(frozen=True)
class UpdatePart:
    """What one rank does for one update: positions in the plan, and what the gradient of all ranks is divided by."""

    positions: tuple[int, ...]  # none where the last update leaves nothing for this rank
    weight: int


def parts_of_rank(
    plan: Sequence[np.ndarray],
    rank: int,
    world_size: int,
    accumulation: int,
    first: int = 0,
    weight: Callable[[np.ndarray], int] = len,
) -> Iterator[UpdatePart]:
    """Divide the plan into updates and these among the ranks; yield the part of `rank` of each update.

    An update takes the next `world_size * accumulation` micro-batches; rank r of it takes positions r, r + world_size,
    ... In the last update some ranks may have nothing; they get a part without positions, so that all ranks make the
    same number of updates.

    Args:
        plan: see `plan_training`.
        rank: of this process.
        world_size: number of ranks.
        accumulation: micro-batches per rank and update.
        first: position in the plan to begin with; any, because a resumed run may have another world size.
        weight: how much a micro-batch counts; by default as many as it has utterances.
    """
    group = world_size * accumulation
    for start in range(first, len(plan), group):
        stop = min(start + group, len(plan))
        positions = tuple(range(start + rank, stop, world_size))
        yield UpdatePart(positions, sum(weight(plan[i]) for i in range(start, stop)))


def plan_fingerprint(batch: BatchConfig, durations: np.ndarray, group: int, sets: Sequence[Any] = ()) -> str:
    """A hash of everything the batch plan depends on, so that a position in it keeps its meaning.

    Args:
        batch: the options.
        durations: float (N,), seconds.
        group: micro-batches that make an update; the plan depends on it where their size is fixed.
        sets: see `Manifest.plan_key`.
    """
    key: list[Any] = [batch.seed, batch.max_duration, batch.short_first_epochs, len(durations)]
    if batch.max_duration_utt:
        key.append(batch.max_duration_utt)
    if batch.batch_size:
        key += [batch.batch_size, batch.num_buckets, group]
    if sets:
        key.append(sets)
    return hashlib.sha256(json.dumps(key).encode() + np.asarray(durations, np.float32).tobytes()).hexdigest()
