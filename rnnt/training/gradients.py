"""The gradient of an update: the mean over all utterances of its micro-batches, on whatever ranks they are."""

import torch

BUCKET = 1 << 24  # numbers that ranks exchange at once: 64 MB in fp32


def sum_over_ranks(parameters, world):
    """Add up the gradients of all ranks, in place; a missing one counts as zero.

    All at once after the last backward pass: a rank can then repeat a micro-batch, or have none, and the others need
    not know. The buckets travel while the next ones are filled.
    """
    if world.size == 1:
        return
    waiting = []
    for bucket in _buckets([p for p in parameters if p.requires_grad]):
        for p in bucket:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
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
