"""The gradient of an update: the mean over all utterances of its micro-batches, on whatever ranks they are."""

from dataclasses import dataclass

import torch

from rnnt.data.dataset import Batch

BUCKET = 1 << 24  # numbers that ranks exchange at once: 64 MB in fp32


@dataclass(frozen=True)
class Piece:
    """A micro-batch, or the part of one that is computed at once."""

    batch: Batch
    path: tuple[int, ...] = ()  # first (0) or second (1) half, half of that, and so on


def compute_in_pieces(batches, compute, start_again, log):
    """Call `compute(piece)`, which adds to the gradients, for all micro-batches; halve those that need too much memory.

    An out-of-memory error can come in the middle of a backward pass, with part of its gradients added. So after it
    everything of this update is dropped (`start_again()`) and computed again, with the guilty piece in two halves; an
    utterance that alone does not fit is left out. Without dropout and layers that normalise over the batch, the
    gradient is that of the whole micro-batches. No rank waits for another meanwhile.

    Returns:
      A list of `(piece, result of compute)`.
    """
    pieces = [Piece(batch) for batch in batches]
    while True:
        done, error = [], None
        try:
            for piece in pieces:
                done.append((piece, compute(piece)))
            return done
        except RuntimeError as caught:
            if not is_out_of_memory(caught):
                raise
            error = " ".join(str(caught).split())[:200]
        # Out of the handler: the traceback held on to what was computed.
        guilty = pieces[len(done)]
        pieces[len(done) : len(done) + 1] = _halves(guilty, error, log)
        done.clear()
        start_again()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def is_out_of_memory(error):
    """Whether an exception says that memory is used up, on a GPU or on the host."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)


def _halves(piece, error, log):
    batch = piece.batch
    what = f"{len(batch)} utterances, {sum(batch.durations):.0f} s, longest {max(batch.durations):.1f} s"
    if len(batch) == 1:
        log.warning(
            "utterance %s (%.1f s, %d tokens) does not fit into memory and is left out: %s",
            batch.ids[0], batch.durations[0], batch.y_len_B[0], error,
        )  # fmt: skip
        return []
    log.warning(
        "micro-batch %d (%s) does not fit into memory and is computed in two halves; lower --max-duration if this "
        "comes often: %s",
        batch.position, what, error,
    )  # fmt: skip
    middle = (len(batch) + 1) // 2
    return [
        Piece(batch.part(slice(0, middle)), (*piece.path, 0)),
        Piece(batch.part(slice(middle, None)), (*piece.path, 1)),
    ]


def sum_over_ranks(parameters, world):
    """Add up the gradients of all ranks, in place; a missing one counts as zero.

    All at once after the last backward pass: a rank can then repeat a micro-batch, or have none, and the others need
    not know. The buckets travel while the next ones are filled.
    """
    parameters = [p for p in parameters if p.requires_grad]
    for p in parameters:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    if world.size == 1:
        return
    waiting = []
    for bucket in _buckets(parameters):
        flat = torch.cat([p.grad.reshape(-1) for p in bucket])
        waiting.append((bucket, flat, world.start_all_reduce(flat)))
    for bucket, flat, work in waiting:
        work.wait()
        for p, part in zip(bucket, flat.split([p.numel() for p in bucket])):
            p.grad.copy_(part.view_as(p))


def _buckets(parameters):
    bucket, size = [], 0
    for p in parameters:
        if bucket and (size + p.numel() > BUCKET or p.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(p)
        size += p.numel()
    if bucket:
        yield bucket
