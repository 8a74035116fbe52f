"""Encoders that hear an utterance piece by piece, and give for each piece what they give for the whole.

A window of `Windows.size` input frames goes in at a time; the next window begins `Windows.shift` frames later, so that
the frames beyond are its look-ahead. Each window gives shift / subsampling_factor encoder frames, fewer at the end.

A state is a list of tensors whose first dimension counts the streams: streams that begin and end at different times
can share a batch (`join_states`, `split_states`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from rnnt.errors import UserError

if TYPE_CHECKING:
    from rnnt.model.encoders.config import ChunkChoice

State = list[Tensor]


@dataclass(frozen=True)
class Windows:
    """Input frames that go in at a time, and by how many the next window begins later."""

    size: int
    shift: int


@runtime_checkable
class StreamingEncoder(Protocol):
    """What an encoder has that can stream."""

    def windows(self, chunk_frames: int = 0) -> Windows:
        """The windows for chunks of about this many input frames; 0: the encoder's own choice.

        Raises:
            ValueError: the encoder can't stream as it is configured, and why.
        """

    def init_state(self, batch: int) -> State:
        """The state of `batch` streams at their beginning."""

    def stream(self, x_BTF: Tensor, x_len_B: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """One window of each stream.

        Args:
            x_BTF: features, zero where there are none.
            x_len_B: frames of the window that are there; fewer than its size only where the stream ends.
            state: of the streams.

        Returns:
            h (B, T', D), zero on padding; its lengths (B,); the state that goes with the next window.
        """


def join_states(states: Sequence[State]) -> State:
    """The states of single streams, or of batches of them, as that of one batch."""
    return [torch.cat(parts) for parts in zip(*states)]


def split_states(state: State) -> list[State]:
    """The state of a batch as those of its streams."""
    return [list(parts) for parts in zip(*(tensor.split(1) for tensor in state))]


def choose_chunks(network: Any, choice: ChunkChoice) -> None:
    """Let a causal encoder see what `choice` says.

    Raises:
        UserError: it is no such encoder, or can't work with that.
    """
    if not choice.chunk_size:
        return
    encoder = network.encoder
    if not hasattr(encoder, "set_chunks"):
        raise UserError(
            f"--chunk-size is for a causal zipformer, and the encoder of the model is {network.config.encoder.name}; "
            "leave it out"
        )
    trained = encoder.config.left_context_frames
    left = choice.left_context_frames or (trained[0] if len(trained) == 1 or choice.chunk_size < 0 else 0)
    if not left:
        raise UserError(f"--chunk-size needs --left-context-frames, one of {', '.join(map(str, trained))}")
    try:
        encoder.set_chunks(choice.chunk_size, left)
    except ValueError as error:
        raise UserError(str(error)) from None


def chunk_windows(chunk_frames: int, factor: int, default: int = 32) -> Windows:
    """Windows without look-ahead: of a multiple of `factor` frames, rounded up."""
    frames = -(-(chunk_frames or default) // factor) * factor
    return Windows(frames, frames)
