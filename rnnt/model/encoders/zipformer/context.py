"""What the modules of a stack know of a batch beside its contents: lengths, chunks, who sees whom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rnnt.model.encoders.zipformer.config import left_chunks
from rnnt.model.masking import ceil_div, valid_mask
from rnnt.model.regularisers import chance

if TYPE_CHECKING:
    from rnnt.model.encoders.zipformer.config import ZipformerConfig

HIDDEN = -1000.0  # exp of it is exactly 0


@dataclass(frozen=True)
class Chunks:
    """How far a frame sees. The default: all of its utterance.

    Attributes:
        size: frames in a chunk, beyond whose end its frames see nothing; -1: the whole utterance.
        left: chunks before its own that a frame sees; -1: all.
    """

    size: int = -1
    left: int = -1


def make_chunks(size: int, left_context_frames: int) -> Chunks:
    """The chunks of as many frames before the stacks; -1: all."""
    return Chunks(size, left_chunks(size, left_context_frames)) if size > 0 else Chunks()


class ChunkDraw(nn.Module):
    """Draws the chunks of each micro-batch in training. A causal encoder that is frozen needs it no less."""

    def __init__(self, config: ZipformerConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, chunks: Chunks) -> Chunks:
        """In training other chunks, of a causal encoder; else these."""
        config = self.config
        if not (self.training and config.causal):
            return chunks
        size = config.chunk_size[chance.choose(len(config.chunk_size))]
        return make_chunks(size, config.left_context_frames[chance.choose(len(config.left_context_frames))])


@dataclass(frozen=True)
class Context:
    """A batch at the frame rate of a stack.

    Attributes:
        len_B: frames of each utterance.
        valid_BT: True on these.
        hidden: what is added to scores, `HIDDEN` where a key must not be seen: (B, 1, 1, T), with chunks (B, 1, T, T).
        chunk_size: frames in a chunk; -1: no chunks.
    """

    len_B: Tensor
    valid_BT: Tensor
    hidden: Tensor
    chunk_size: int


def make_context(len_B: Tensor, T: int, factor: int, chunks: Chunks) -> Context:
    """The context of a stack.

    Args:
        len_B: frames of each utterance before the stacks.
        T: frames of the padded batch at that rate.
        factor: by which the stack's rate is lower.
        chunks: at that rate.
    """
    len_B, T = ceil_div(len_B, factor), (T + factor - 1) // factor
    valid_BT = valid_mask(len_B, T)
    hidden = ~valid_BT[:, None, None, :]
    size = chunks.size // factor if chunks.size > 0 else -1
    if size > 0:
        chunk_T = torch.arange(T, device=len_B.device) // size
        ahead_TT = chunk_T[None, :] - chunk_T[:, None]  # of the query's chunk
        unseen_TT = ahead_TT > 0 if chunks.left < 0 else (ahead_TT > 0) | (ahead_TT < -chunks.left)
        hidden = hidden | unseen_TT
    return Context(len_B, valid_BT, hidden * HIDDEN, size)
