"""How far apart two frames are, as a vector."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def distance_encoding(T: int, dim: int, device: torch.device | None = None) -> Tensor:
    """Encodings (2 T - 1, E) of the offsets -(T - 1), ..., T - 1 of a key from its query.

    The offset x is compressed to c sign(x) (log(|x| + c) - log c) with c = sqrt(E), so that near offsets are told
    apart and far ones hardly; then to an angle within +-pi / 2, whose cosines and sines at E / 2 frequencies alternate
    in the vector. The last number is 1.

    Args:
        T: frames.
        dim: E, even.
        device: of the result.
    """
    offset_X = torch.arange(-(T - 1), T, device=device, dtype=torch.float32)
    c = math.sqrt(dim)
    compressed_X = c * offset_X.sign() * ((offset_X.abs() + c).log() - math.log(c))
    angle_X = torch.atan(compressed_X * (2 * math.pi / dim))
    angles_XK = angle_X[:, None] * torch.arange(1, dim // 2 + 1, device=device)
    encoding_XE = torch.stack([angles_XK.cos(), angles_XK.sin()], dim=2).flatten(1)
    return torch.cat([encoding_XE[:, :-1], torch.ones_like(encoding_XE[:, :1])], dim=1)
