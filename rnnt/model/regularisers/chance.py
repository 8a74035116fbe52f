"""Random choices of a training. They come from torch's generator, which training seeds for each micro-batch."""

from __future__ import annotations

import torch
from torch import Tensor


def happens(probability: float) -> bool:
    """True with this probability; one draw on the CPU, none where the answer is certain."""
    return probability > 0 and (probability >= 1 or torch.rand(()).item() < probability)


def choose(number: int) -> int:
    """A number from 0 to `number` - 1, each equally likely; no draw for a single one."""
    return int(torch.randint(number, ()).item()) if number > 1 else 0


def kept(shape: tuple[int, ...], drop: float, like: Tensor) -> Tensor:
    """Ones, and zeros with probability `drop`: a tensor of `shape`, of the device and type of `like`."""
    if like.device.type == "cpu":
        return (torch.rand(shape) >= drop).to(like.dtype)
    return like.new_empty(shape).bernoulli_(1 - drop)  # one kernel instead of three
