"""Options of the Zipformer, called as in icefall. Free of torch, so that --help is quick."""

import itertools
from dataclasses import dataclass
from typing import Any, ClassVar

from rnnt.model.encoders.config import AdaptableConfig
from rnnt.options import flag, option

PER_STACK = (
    "num_encoder_layers", "downsampling_factor", "encoder_dim", "encoder_unmasked_dim", "feedforward_dim", "num_heads",
    "cnn_module_kernel", "query_head_dim", "pos_head_dim", "value_head_dim",
)  # fmt: skip


@dataclass(frozen=True)
class StackSizes:
    """The sizes of one stack: one number of each list of `ZipformerConfig`."""

    num_encoder_layers: int
    downsampling_factor: int
    encoder_dim: int
    encoder_unmasked_dim: int
    feedforward_dim: int
    num_heads: int
    cnn_module_kernel: int
    query_head_dim: int
    pos_head_dim: int
    value_head_dim: int
    pos_dim: int
    causal: bool
    adapter_dim: int


@dataclass(frozen=True)
class ZipformerConfig(AdaptableConfig):
    """Stacks of attention and convolution at several frame rates; a list has a number for each, or one for all."""

    name = "zipformer"
    free_options: ClassVar[tuple[str, ...]] = (
        *AdaptableConfig.free_options, "encoder_unmasked_dim", "chunk_size", "left_context_frames",
    )  # fmt: skip

    subsampling_factor: int = option(4, "input frames per encoder frame", choices=[4])
    embed_channels: list[int] = option(
        [8, 32, 128], "channels of the three convolutions in front; icefall's are fixed", minimum=1, nonempty=True
    )
    num_encoder_layers: list[int] = option([2, 2, 3, 4, 3, 2], "layers of each stack", minimum=1, nonempty=True)
    downsampling_factor: list[int] = option(
        [1, 2, 4, 8, 4, 2], "frames of the first stack's rate in one of a stack", minimum=1, nonempty=True
    )
    encoder_dim: list[int] = option([192, 256, 384, 512, 384, 256], "width of each stack", minimum=1, nonempty=True)
    encoder_unmasked_dim: list[int] = option(
        [192, 192, 256, 256, 256, 192],
        "channels of each stack that training never drops as a whole",
        minimum=1,
        nonempty=True,
    )
    feedforward_dim: list[int] = option(
        [512, 768, 1024, 1536, 1024, 768], "inner width of the feed-forward modules", minimum=1, nonempty=True
    )
    num_heads: list[int] = option([4, 4, 4, 8, 4, 4], "attention heads", minimum=1, nonempty=True)
    cnn_module_kernel: list[int] = option(
        [31, 31, 15, 15, 15, 31], "frames that a convolution sees, odd numbers", minimum=1, nonempty=True
    )
    query_head_dim: list[int] = option([32], "width of a head's query and key", minimum=1, nonempty=True)
    pos_head_dim: list[int] = option([4], "width of a head's query for distances", minimum=1, nonempty=True)
    value_head_dim: list[int] = option([12], "width of a head's value", minimum=1, nonempty=True)
    pos_dim: int = option(48, "width of the encoding of distances, even", minimum=2)
    causal: bool = option(False, "convolutions that look no further ahead than the end of a chunk, for streaming")
    chunk_size: list[int] = option(
        [16, 32, 64, -1],
        "with --causal: frames (of 20 ms) in a chunk, beyond whose end nothing is seen; training draws one for each "
        "micro-batch; -1: the whole utterance. Evaluation takes the only one, or of several the whole utterance",
        minimum=-1,
        nonempty=True,
    )
    left_context_frames: list[int] = option(
        [64, 128, 256, -1],
        "with --causal: frames before a chunk that it sees, drawn likewise; -1: all",
        minimum=-1,
        nonempty=True,
    )

    def __post_init__(self) -> None:
        number = len(self.downsampling_factor)
        for name in PER_STACK:
            values = getattr(self, name)
            if len(values) not in (1, number):
                raise ValueError(f"{flag(name)} has {len(values)} numbers, --downsampling-factor has {number}")
        if len(self.embed_channels) != 3:
            raise ValueError(f"--embed-channels has {len(self.embed_channels)} numbers, not 3")
        if self.pos_dim % 2:
            raise ValueError("--pos-dim must be even")
        for stack in self.stacks():
            if stack.cnn_module_kernel % 2 == 0:
                raise ValueError("--cnn-module-kernel must be odd")
            if stack.encoder_unmasked_dim > stack.encoder_dim:
                raise ValueError("--encoder-unmasked-dim can't be larger than --encoder-dim")
        if self.causal:
            self._check_chunks()

    def _check_chunks(self) -> None:
        for name in ("chunk_size", "left_context_frames"):
            if 0 in getattr(self, name):
                raise ValueError(f"{flag(name)} needs frames, or -1")
        for chunk, left in itertools.product(self.chunk_size, self.left_context_frames):
            self.check_chunk(chunk, left)

    def check_chunk(self, chunk_size: int, left_context_frames: int) -> None:
        """Raise ValueError unless the stacks can work with these chunks, in frames after the convolutions; -1: all."""
        if chunk_size == -1:
            return
        for stack in self.stacks():
            factor = stack.downsampling_factor
            if chunk_size % factor:
                raise ValueError(f"--chunk-size {chunk_size} is no multiple of --downsampling-factor {factor}")
            needed = stack.cnn_module_kernel // 2 * factor
            if left_context_frames != -1 and chunk_size * left_chunks(chunk_size, left_context_frames) < needed:
                raise ValueError(
                    f"--left-context-frames {left_context_frames} with --chunk-size {chunk_size} is less than the "
                    f"{needed} frames that the convolutions of a stack see"
                )

    def comparable(self) -> dict[str, Any]:
        """See `EncoderConfig.comparable`: a number for each stack, also where one for all was given."""
        lists = {name: [getattr(stack, name) for stack in self.stacks()] for name in PER_STACK}
        return {**super().comparable(), **lists}

    def stacks(self) -> tuple[StackSizes, ...]:
        """The sizes of each stack, in order."""
        number = len(self.downsampling_factor)
        lists = {name: getattr(self, name) for name in PER_STACK}
        return tuple(
            StackSizes(
                **{name: values[i if len(values) > 1 else 0] for name, values in lists.items()},
                pos_dim=self.pos_dim,
                causal=self.causal,
                adapter_dim=self.adapter_dim,
            )
            for i in range(number)
        )


def left_chunks(chunk_size: int, left_context_frames: int) -> int:
    """Chunks before a chunk that it sees, at least one; -1: all."""
    return -1 if left_context_frames == -1 else max(left_context_frames // chunk_size, 1)
