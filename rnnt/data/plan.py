"""The batch plan: which utterances make which micro-batch, in which order.

A pure function of seed, epoch and durations. World size and accumulation take consecutive micro-batches of it, so they
change neither what is seen nor in which order, and a resumed run needs only a position. Where every micro-batch has
the same number of utterances, how many of them make an update counts as well, however they are shared among the ranks.
"""

from dataclasses import dataclass

import numpy as np

from rnnt.errors import UserError

JITTER = 0.1  # spread of the log durations by which utterances meet: new company in each epoch, little padding


def plan_training(config, durations, epoch, group):
    """The micro-batches of a training epoch, as the options want them.

    Args:
      config: `BatchConfig`.
      durations: float (N,), seconds.
      epoch: from 1.
      group: micro-batches that make an update, over all ranks.
    Returns:
      A list of int64 arrays of utterance numbers. Raises `UserError` when the options leave nothing.
    """
    durations = np.asarray(durations)
    limit = config.max_duration_utt or np.inf
    # Durations are stored in single precision: 16.7 must not be longer than 16.7.
    kept = np.flatnonzero(durations <= limit * (1 + 1e-6))
    if not len(kept):
        raise UserError(f"no utterance lasts at most --max-duration-utt {limit:g} s; raise it")
    if config.batch_size:
        plan = plan_fixed(durations[kept], config.batch_size, group, config.num_buckets, config.seed, epoch)
    else:
        short_first = epoch <= config.short_first_epochs
        plan = plan_epoch(durations[kept], config.max_duration, config.seed, epoch, short_first)
    return [kept[batch] for batch in plan]


def plan_fixed(durations, batch_size, group, num_buckets, seed, epoch):
    """Micro-batches of `batch_size` utterances each, in whole updates of `group` micro-batches.

    The sampler of the MLPerf RNN-T: the utterances, sorted by duration, are cut into `num_buckets` buckets and shuffled
    within each; random ones are left out until whole updates remain; the updates are shuffled. Each epoch leaves out
    others. Arguments and result are otherwise those of `plan_training`.
    """
    size = batch_size * group
    if len(durations) < size:
        raise UserError(
            f"{len(durations)} training utterances are less than one update of {size} ({group} x --batch-size "
            f"{batch_size}); lower --batch-size, --accum-grad or the number of processes"
        )
    generator = np.random.default_rng([seed, epoch])
    buckets = np.array_split(np.argsort(durations, kind="stable"), num_buckets)
    order = np.concatenate([generator.permutation(bucket) for bucket in buckets])
    order = np.delete(order, generator.choice(len(order), len(order) % size, replace=False))
    updates = generator.permutation(order.reshape(-1, size))
    return list(updates.reshape(-1, batch_size))


def plan_epoch(durations, max_duration, seed, epoch, short_first=False):
    """The micro-batches of a training epoch.

    Utterances are sorted by duration with some jitter, cut so that count x longest duration stays within
    `max_duration`, and the micro-batches shuffled, or left from short to long when `short_first`. Every utterance
    comes exactly once; one that is longer than `max_duration` makes a micro-batch alone.

    Args:
      durations: float (N,), seconds.
      max_duration: seconds of audio in a micro-batch, padding counted.
      seed, epoch: integers that fix every draw.
    Returns:
      A list of int64 arrays of utterance numbers.
    """
    generator = np.random.default_rng([seed, epoch])
    keys = np.log(np.maximum(durations, 1e-3)) + JITTER * generator.random(len(durations))
    batches = cut_batches(np.argsort(keys, kind="stable"), durations, max_duration)
    if short_first:
        return batches
    return [batches[i] for i in generator.permutation(len(batches))]


def plan_evaluation(durations, max_duration):
    """Micro-batches from the longest utterances to the shortest: a lack of memory shows at once."""
    return cut_batches(np.argsort(-np.asarray(durations), kind="stable"), durations, max_duration)


def cut_batches(order, durations, max_duration):
    """Cut the utterances in `order` into runs whose count x longest duration stays within `max_duration`."""
    batches, first, longest = [], 0, 0.0
    for position, duration in enumerate(np.asarray(durations, dtype=np.float64)[order]):
        longest = max(longest, duration)
        if position > first and longest * (position + 1 - first) > max_duration:
            batches.append(order[first:position])
            first, longest = position, duration
    if first < len(order):
        batches.append(order[first:])
    return batches


@dataclass(frozen=True)
class Turn:
    """What one rank does for one update: positions in the plan, and how many utterances all ranks see together."""

    positions: tuple[int, ...]  # none where the last update leaves nothing for this rank
    num_utterances: int


def turns_of_rank(plan, rank, world_size, accumulation, first=0):
    """Deal the plan out: update k takes the next `world_size * accumulation` micro-batches, rank by rank.

    Within an update, rank r takes positions r, r + world_size, ... In the last update some ranks may have nothing;
    they get a turn without positions, so that all ranks make the same number of updates.

    Args:
      first: position in the plan to begin with; any, because a resumed run may have another world size.
    """
    group = world_size * accumulation
    for start in range(first, len(plan), group):
        stop = min(start + group, len(plan))
        positions = tuple(range(start + rank, stop, world_size))
        yield Turn(positions, sum(len(plan[i]) for i in range(start, stop)))
