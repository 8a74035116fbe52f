"""The Zipformer: stacks of layers at several frame rates, over one sequence at 20 ms, in 40 ms frames at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rnnt.model.encoders.streaming import State, Windows
from rnnt.model.encoders.zipformer import streaming
from rnnt.model.encoders.zipformer.bypass import Downsample, with_channels
from rnnt.model.encoders.zipformer.context import ChunkDraw, Chunks, make_chunks, make_context
from rnnt.model.encoders.zipformer.stack import WARM_UP, DownsampledStack, Stack
from rnnt.model.encoders.zipformer.subsampling import Conv2dSubsampling, embedded_lengths
from rnnt.model.masking import ceil_div, valid_mask
from rnnt.model.regularisers import chance
from rnnt.ops.compiling import is_tracing

if TYPE_CHECKING:
    from rnnt.model.encoders.zipformer.config import ZipformerConfig

CHANNEL_DROP = 0.125  # fraction of the utterances without the highest channels, and as many again
OUTPUT_FACTOR = 2


class Zipformer(nn.Module):
    """Zipformer (Yao et al. 2023, https://arxiv.org/abs/2310.11230), with icefall's names and numbers.

    An utterance gets in any batch what it gets alone, where icefall's own depends on the padding: its ConvNeXt block
    sees convolved padding, its downsampling repeats the last frame of the batch, and its chunkwise convolution without
    chunks ends with the batch.

    Args:
        config: sizes.
        num_features: F.

    Attributes:
        dim: width of the output, that of the widest stack.
        chunks: how far evaluation sees; see `set_chunks`.
    """

    def __init__(self, config: ZipformerConfig, num_features: int) -> None:
        super().__init__()
        self.config = config
        self.sizes = config.stacks()
        self.dim = max(sizes.encoder_dim for sizes in self.sizes)
        self.embed = Conv2dSubsampling(num_features, self.sizes[0].encoder_dim, config.embed_channels)
        number = len(self.sizes)
        # The first part of the warm-up is left to the convolutions.
        moments = [WARM_UP * (i + 1) / (number + 1) for i in range(number + 1)]
        self.encoders = nn.ModuleList(
            (Stack if sizes.downsampling_factor == 1 else DownsampledStack)(sizes, begin, end)
            for sizes, begin, end in zip(self.sizes, moments, moments[1:])
        )
        self.downsample_output = Downsample(OUTPUT_FACTOR)
        self.chunks = Chunks()
        self.chunk_draw = ChunkDraw(config)
        if config.causal and len(config.chunk_size) == 1:
            self.set_chunks(config.chunk_size[0], config.left_context_frames[0])

    def set_chunks(self, chunk_size: int, left_context_frames: int) -> None:
        """Let evaluation see no further ahead than the end of a chunk, as a streaming decoder does.

        Args:
            chunk_size: frames of 20 ms; -1: the whole utterance.
            left_context_frames: frames before the chunk, taken as whole chunks; -1: all.

        Raises:
            ValueError: the encoder is not causal, or its stacks can't work with that.
        """
        if chunk_size != -1 and not self.config.causal:
            raise ValueError("--chunk-size needs an encoder that was trained with --causal true")
        self.config.check_chunk(chunk_size, left_context_frames)
        self.chunks = make_chunks(chunk_size, left_context_frames)

    def output_lengths(self, x_len_B: Tensor) -> Tensor:
        """Lengths of the output for lengths of features, on the same device."""
        return ceil_div(embedded_lengths(x_len_B), OUTPUT_FACTOR)

    def forward(self, x_BTF: Tensor, x_len_B: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, T, F), lengths (B,) int64 -> h (B, T', D), lengths (B,); h is zero on padding."""
        x_BTD, len_B = self.embed(x_BTF, x_len_B)
        chunks = self.chunk_draw(self.chunks)
        masks = self._feature_masks(x_BTD) if self.training else [None] * len(self.sizes)
        T = x_BTD.shape[1]
        contexts = {
            factor: make_context(len_B, T, factor, chunks)
            for factor in {sizes.downsampling_factor for sizes in self.sizes}
        }
        outputs: list[Tensor] = []
        for stack, sizes, mask in zip(self.encoders, self.sizes, masks):
            x_BTD, context = with_channels(x_BTD, sizes.encoder_dim), contexts[sizes.downsampling_factor]
            inputs = (x_BTD, context, mask) if isinstance(stack, Stack) else (x_BTD, len_B, context, mask)
            x_BTD = stack(*inputs)
            outputs.append(x_BTD)
        h_BTD, h_len_B = self.join_outputs(outputs, len_B)
        if is_tracing():
            return h_BTD, h_len_B  # a graph gives one frame, of zeros, for what is too short
        return h_BTD[:, : int(self.output_lengths(torch.tensor(x_BTF.shape[1])))], h_len_B

    def join_outputs(self, outputs: list[Tensor], len_B: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs of the stacks, (B, T, D) each, and their lengths -> h (B, T / 2, D), zero on padding, and lengths."""
        h_BTD = self.downsample_output(_widest(outputs), len_B)
        h_len_B = ceil_div(len_B, OUTPUT_FACTOR)
        return h_BTD * valid_mask(h_len_B, h_BTD.shape[1])[..., None], h_len_B

    def windows(self, chunk_frames: int = 0) -> Windows:
        """As `StreamingEncoder`; the chunks are those of `set_chunks`."""
        return streaming.windows(self)

    def init_state(self, batch: int) -> State:
        """As `StreamingEncoder`."""
        return streaming.init_state(self, batch)

    def stream(self, x_BTF: Tensor, x_len_B: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """As `StreamingEncoder`."""
        return streaming.stream(self, x_BTF, x_len_B, state)

    def _feature_masks(self, x_BTD: Tensor) -> list[Tensor]:
        """For each stack (B, 1, D), zero for the channels that training drops from some utterances, in all stacks.

        From `encoder_unmasked_dim` on the channels are dropped in two halves, the upper one twice as often.
        """
        B = len(x_BTD)
        both_B11 = chance.kept((B, 1, 1), CHANNEL_DROP, x_BTD)
        upper_B11 = both_B11 * chance.kept((B, 1, 1), CHANNEL_DROP, x_BTD)
        masks = []
        for sizes in self.sizes:
            dim, first = sizes.encoder_dim, sizes.encoder_unmasked_dim
            second = first + (dim - first) // 2
            widths = first, second - first, dim - second
            parts = [m.expand(B, 1, w) for m, w in zip((torch.ones_like(both_B11), both_B11, upper_B11), widths)]
            masks.append(torch.cat(parts, dim=2))
        return masks


def _widest(outputs: list[Tensor]) -> Tensor:
    """Each channel from the last stack that has it: (B, T, E)."""
    parts = [outputs[-1]]
    width = parts[0].shape[2]
    for output in reversed(outputs[:-1]):
        if output.shape[2] > width:
            parts.append(output[..., width:])
            width = output.shape[2]
    return torch.cat(parts, dim=2)
