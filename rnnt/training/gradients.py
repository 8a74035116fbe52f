"""The micro-batches of an update on one rank, in smaller parts where memory does not suffice."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch

from rnnt.errors import one_line

if TYPE_CHECKING:
    from rnnt.training.tasks.base import AnyBatch

Result = TypeVar("Result")


@dataclass(frozen=True)
class SubBatch:
    """A micro-batch, or the part of it that is computed at once."""

    batch: AnyBatch
    path: tuple[int, ...] = ()  # first (0) or second (1) half, half of that, and so on


def forward_backward_with_oom_split(
    batches: Sequence[AnyBatch],
    compute: Callable[[SubBatch, bool], Result],
    start_again: Callable[[], None],
    log: logging.Logger,
) -> list[tuple[SubBatch, Result]]:
    """Call `compute(part, is_last)`, which adds to the gradients, for all micro-batches; halve those that need too much
    memory.

    An out-of-memory error can come in the middle of a backward pass, with part of its gradients added. So after it
    everything of this update is dropped (`start_again()`) and computed again, with the failed part in two halves; an
    utterance that alone does not fit is left out. Without dropout and layers that normalise over the batch, the
    gradient is that of the complete micro-batches. No rank waits for another meanwhile.

    Returns:
        A list of `(part, result of compute)`.
    """
    parts = [SubBatch(batch) for batch in batches]
    while True:
        done: list[tuple[SubBatch, Result]] = []
        try:
            for number, part in enumerate(parts, 1):
                done.append((part, compute(part, number == len(parts))))
            return done
        except RuntimeError as caught:
            if not is_out_of_memory(caught):
                raise
            error = one_line(caught)
        # Out of the handler: the traceback held on to what was computed.
        failed = parts[len(done)]
        parts[len(done) : len(done) + 1] = _halves(failed, error, log)
        done.clear()
        start_again()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory is used up, on a GPU or on the host."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)


def _halves(part: SubBatch, error: str, log: logging.Logger) -> list[SubBatch]:
    batch = part.batch
    if len(batch) == 1:
        log.warning("%s does not fit into memory and is left out: %s", batch.describe(), error)
        return []
    log.warning(
        "micro-batch %d (%s) does not fit into memory and is computed in two halves; lower %s if this comes often: %s",
        batch.position, batch.describe(), batch.limit, error,
    )  # fmt: skip
    middle = (len(batch) + 1) // 2
    return [
        SubBatch(batch.part(slice(0, middle)), (*part.path, 0)),
        SubBatch(batch.part(slice(middle, None)), (*part.path, 1)),
    ]
