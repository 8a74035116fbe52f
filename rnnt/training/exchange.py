"""The gradients of all ranks added up, while the last backward pass of an update still runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    import torch.distributed as dist

    from rnnt.distributed.world import World

BUCKET = 1 << 20  # numbers that ranks exchange at once: 4 MB in float32


@dataclass
class _Bucket:
    """Parameters whose gradients travel together."""

    parameters: list[nn.Parameter]
    missing: int = 0  # gradients that the running backward pass has not yet completed
    flat: Tensor | None = None  # what was sent, and then the sum
    work: dist.Work | None = None


class GradientExchange:
    """Sums the gradients of an update over the ranks, in place; a missing one counts as zero.

    Buckets of parameters, the last of the model first as a backward pass makes them, are sent as soon as their
    gradients are complete, from `overlap` on; what is not sent by then is sent by `finish`. All ranks send in the same
    order. So a rank may have no micro-batch at all, which torch's DistributedDataParallel does not allow. And a rank
    that ran out of memory and repeats its micro-batches (`wait_for_finish`) need not tell the others: what it has sent
    is the complete sum of its micro-batches, and stays; the rest is of the repetition.

    Args:
        parameters: of the model; those without `requires_grad` are left out.
        world: the ranks.
        half: send bfloat16: half the bytes, and sums rounded to 8 bits.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], world: World, half: bool = False) -> None:
        self.world, self.half = world, half
        self.parameters = [p for p in parameters if p.requires_grad]
        self.buckets = [_Bucket(bucket) for bucket in _buckets(self.parameters[::-1])]
        self._sent = 0  # buckets of this update
        self._overlaps = False
        if world.size > 1:
            for bucket in self.buckets:
                for p in bucket.parameters:
                    p.register_post_accumulate_grad_hook(self._count_down(bucket))

    def _count_down(self, bucket: _Bucket) -> Callable[[Tensor], None]:
        def gradient_is_complete(_: Tensor) -> None:
            if self._overlaps:
                bucket.missing -= 1
                while self._sent < len(self.buckets) and not self.buckets[self._sent].missing:
                    self._send()

        return gradient_is_complete

    def overlap(self) -> None:
        """The backward pass that begins now is the last of this update: send what it completes."""
        for bucket in self.buckets:
            bucket.missing = len(bucket.parameters)
        self._overlaps = self.world.size > 1

    def wait_for_finish(self) -> None:
        """Send nothing more until `finish`, or `overlap` again."""
        self._overlaps = False

    def finish(self) -> None:
        """Send the rest, and give every parameter the sum over all ranks."""
        self._overlaps = False
        if self.world.size == 1:
            for p in self.parameters:
                _gradient(p)
            return
        while self._sent < len(self.buckets):
            self._send()
        self._sent = 0
        for bucket in self.buckets:
            assert bucket.work is not None and bucket.flat is not None
            bucket.work.wait()
            for p, part in zip(bucket.parameters, bucket.flat.split([p.numel() for p in bucket.parameters])):
                _gradient(p).copy_(part.view_as(p))
            bucket.work = bucket.flat = None

    def _send(self) -> None:
        bucket = self.buckets[self._sent]
        flat = torch.cat([_gradient(p).reshape(-1) for p in bucket.parameters])
        bucket.flat = flat.bfloat16() if self.half else flat
        bucket.work = self.world.start_all_reduce(bucket.flat)
        self._sent += 1


def _gradient(p: nn.Parameter) -> Tensor:
    """The gradient of a parameter, made zero where there is none."""
    if p.grad is None:
        p.grad = torch.zeros_like(p)
    return p.grad


def _buckets(parameters: Iterable[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    bucket: list[nn.Parameter] = []
    size = 0
    for p in parameters:
        if bucket and (size + p.numel() > BUCKET or p.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(p)
        size += p.numel()
    if bucket:
        yield bucket
