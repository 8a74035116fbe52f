"""Masks and lengths: what is speech in a padded batch and what is padding."""

import torch
from torch import Tensor


def valid_mask(len_B: Tensor, size: int) -> Tensor:
    """Boolean (B, size): True where the frame belongs to the utterance."""
    return torch.arange(size, device=len_B.device)[None, :] < len_B[:, None]


def ceil_div(len_B: Tensor, factor: int) -> Tensor:
    """Lengths after a layer that keeps every `factor`-th frame, rounded up."""
    return torch.div(len_B + factor - 1, factor, rounding_mode="floor")


def reverse_valid(x_BTD: Tensor, len_B: Tensor) -> Tensor:
    """Reverse each utterance in time, in place of its own frames; padding stays at the end."""
    frames = torch.arange(x_BTD.shape[1], device=x_BTD.device)[None, :]
    index_BT = torch.where(frames < len_B[:, None], len_B[:, None] - 1 - frames, frames)
    return x_BTD.gather(1, index_BT[..., None].expand_as(x_BTD))
