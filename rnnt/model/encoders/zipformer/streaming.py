"""The causal Zipformer, chunk by chunk: what the whole pass gives that sees no further than the same chunks.

Each layer keeps of the past what its chunk sees: keys, values of its three modules that share attention weights, and
the inputs of its two convolutions; the front keeps three frames of its convolutions. The window of a chunk has 13
frames of look-ahead, of the convolutions in front.

Letters: C frames of a chunk at the rate of a stack, L frames of the past that it sees, S their sum, X distances.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnnt.model.encoders.adapter import adapted
from rnnt.model.encoders.streaming import State, Windows
from rnnt.model.encoders.zipformer.bypass import upsample, with_channels
from rnnt.model.encoders.zipformer.context import HIDDEN
from rnnt.model.encoders.zipformer.positions import distance_encoding
from rnnt.model.encoders.zipformer.weights import by_head, from_heads
from rnnt.model.masking import ceil_div, valid_mask
from rnnt.ops.swoosh import LEFT, swoosh

if TYPE_CHECKING:
    from rnnt.model.encoders.zipformer.attention import AttentionWeights, NonlinAttention, SelfAttention
    from rnnt.model.encoders.zipformer.convolution import ChunkCausalConvolution, ConvolutionModule
    from rnnt.model.encoders.zipformer.encoder import Zipformer
    from rnnt.model.encoders.zipformer.layer import ZipformerLayer
    from rnnt.model.encoders.zipformer.subsampling import Conv2dSubsampling, ConvNeXt

LOOK_AHEAD = 3  # frames of the ConvNeXt block behind its own, and as many before
RECEPTIVE = 7  # input frames of the convolutions beyond two for each output frame
PER_LAYER = 6  # tensors of the state


@dataclass(frozen=True)
class _Chunk:
    """What a layer knows of a chunk of each stream.

    Attributes:
        hidden: what is added to the scores of the keys, (B, 1, 1, S).
        valid_BC: the frames that are there.
        size_B: frames of the chunk, as its convolution counts them.
        distance_XE: encodings of the distances from -(S - 1) to C - 1.
    """

    hidden: Tensor
    valid_BC: Tensor
    size_B: Tensor
    distance_XE: Tensor


def windows(encoder: Zipformer) -> Windows:
    """Raises ValueError where the encoder can't stream."""
    chunks = encoder.chunks
    if not encoder.config.causal:
        raise ValueError("a zipformer streams only if it was trained with --causal true")
    if chunks.size < 0 or chunks.left < 0:
        raise ValueError("a causal zipformer streams with a --chunk-size and --left-context-frames above 0")
    return Windows(2 * (chunks.size + LOOK_AHEAD) + RECEPTIVE, 2 * chunks.size)


def init_state(encoder: Zipformer, batch: int) -> State:
    """Zeros: for each layer keys, gated inputs, values, values, convolution, convolution; the front; frames so far."""
    windows(encoder)
    weight = encoder.embed.out.weight
    state: State = []
    for sizes in encoder.sizes:
        past, kernel = _past(encoder, sizes.downsampling_factor), sizes.cnn_module_kernel // 2
        shapes = (
            (past, sizes.num_heads * sizes.query_head_dim),
            (past, 3 * sizes.encoder_dim // 4),
            (past, sizes.num_heads * sizes.value_head_dim),
            (past, sizes.num_heads * sizes.value_head_dim),
            (kernel, sizes.encoder_dim),
            (kernel, sizes.encoder_dim),
        )
        for _ in range(sizes.num_encoder_layers):
            state += [weight.new_zeros(batch, *shape) for shape in shapes]
    channels = encoder.config.embed_channels[-1]
    state.append(weight.new_zeros(batch, LOOK_AHEAD, weight.shape[1] // channels, channels))
    state.append(torch.zeros(batch, dtype=torch.int64, device=weight.device))
    return state


def _past(encoder: Zipformer, factor: int) -> int:
    return encoder.chunks.size * encoder.chunks.left // factor


def stream(encoder: Zipformer, x_BTF: Tensor, x_len_B: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
    """As `StreamingEncoder.stream`."""
    *layers, front_BTFC, done_B = state
    size = encoder.chunks.size
    x_BTD, len_B, front_BTFC = _embed(encoder.embed, x_BTF, x_len_B, front_BTFC)
    chunks = {
        sizes.downsampling_factor: _make_chunk(encoder, sizes.downsampling_factor, sizes.pos_dim, len_B, done_B)
        for sizes in encoder.sizes
    }
    new: State = []
    outputs = []
    for stack, sizes in zip(cast(Iterable[Any], encoder.encoders), encoder.sizes):
        x_BTD, chunk = with_channels(x_BTD, sizes.encoder_dim), chunks[sizes.downsampling_factor]
        is_slow = sizes.downsampling_factor > 1
        y_BCD = stack.downsample(x_BTD, len_B) if is_slow else x_BTD
        for layer in (stack.encoder if is_slow else stack).layers:
            y_BCD, kept = _layer(layer, y_BCD, chunk, layers[len(new) : len(new) + PER_LAYER])
            new += kept
        x_BTD = stack.out_combiner(x_BTD, upsample(y_BCD, sizes.downsampling_factor, size)) if is_slow else y_BCD
        outputs.append(x_BTD)
    h_BTD, h_len_B = encoder.join_outputs(outputs, len_B)
    return h_BTD, h_len_B, [*new, front_BTFC, done_B + size]


def _make_chunk(encoder: Zipformer, factor: int, pos_dim: int, len_B: Tensor, done_B: Tensor) -> _Chunk:
    """The chunk at the rate of a stack, of streams with `len_B` frames in it and `done_B` before it."""
    C, past = encoder.chunks.size // factor, _past(encoder, factor)
    count_B = ceil_div(len_B, factor)
    valid_BC = valid_mask(count_B, C)
    age_L = torch.arange(past, 0, -1, device=len_B.device)  # 1: the frame before the chunk
    hidden_BS = torch.cat([age_L > (done_B // factor)[:, None], ~valid_BC], dim=1)
    # An utterance that is shorter than a chunk is one of its own length.
    size_B = torch.where(done_B == 0, count_B.clamp(min=1), C)
    X = past + 2 * C - 1
    return _Chunk(
        (hidden_BS * HIDDEN)[:, None, None], valid_BC, size_B, distance_encoding(past + C, pos_dim, len_B.device)[:X]
    )


def _embed(
    embed: Conv2dSubsampling, x_BTF: Tensor, x_len_B: Tensor, before_BTFC: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Frames of the chunk, how many are there, and the convolved frames that the next chunk's first ones see."""
    x_BTFC = embed.conv(x_BTF[:, None]).permute(0, 2, 3, 1)
    C = x_BTFC.shape[1] - LOOK_AHEAD
    len_B = torch.div(x_len_B - RECEPTIVE, 2, rounding_mode="floor").clamp(min=0)
    x_BTFC = x_BTFC * valid_mask(len_B, x_BTFC.shape[1])[:, :, None, None]
    around_BTFC = torch.cat([before_BTFC, x_BTFC], dim=1)
    y_BTFC = _convnext(embed.convnext, around_BTFC, x_BTFC[:, :C])
    h_BTD = embed.out_norm(embed.project(y_BTFC))
    return h_BTD, len_B.clamp(max=C), around_BTFC[:, C : C + LOOK_AHEAD]


def _convnext(block: ConvNeXt, around_BTFC: Tensor, x_BTFC: Tensor) -> Tensor:
    conv = block.depthwise_conv
    y_BCTF = F.conv2d(
        around_BTFC.permute(0, 3, 1, 2), conv.weight, conv.bias, padding=(0, LOOK_AHEAD), groups=conv.groups
    )
    first, second = block.pointwise_conv1, block.pointwise_conv2
    y_BTFC = F.linear(y_BCTF.permute(0, 2, 3, 1), first.weight.flatten(1), first.bias)
    return x_BTFC + F.linear(swoosh(y_BTFC, LEFT), second.weight.flatten(1), second.bias)


def _layer(layer: ZipformerLayer, x_BCD: Tensor, chunk: _Chunk, state: State) -> tuple[Tensor, State]:
    """As `ZipformerLayer.forward` in evaluation."""
    key, gated, value1, value2, conv1, conv2 = state
    before_BCD = x_BCD
    weights_BHCS, key = _weights(layer.self_attn_weights, x_BCD, chunk, key)
    x_BCD = x_BCD + layer.feed_forward1(x_BCD)
    y_BCD, gated = _nonlin_attention(layer.nonlin_attention, x_BCD, weights_BHCS, gated)
    x_BCD = x_BCD + y_BCD
    y_BCD, value1 = _self_attention(layer.self_attn1, x_BCD, weights_BHCS, value1)
    x_BCD = adapted(x_BCD + y_BCD, layer.post_sa_adapter)
    y_BCD, conv1 = _convolution(layer.conv_module1, x_BCD, chunk, conv1)
    x_BCD = x_BCD + y_BCD
    x_BCD = x_BCD + layer.feed_forward2(x_BCD)
    x_BCD = adapted(layer.bypass_mid(before_BCD, x_BCD), layer.mid_adapter)
    y_BCD, value2 = _self_attention(layer.self_attn2, x_BCD, weights_BHCS, value2)
    x_BCD = x_BCD + y_BCD
    y_BCD, conv2 = _convolution(layer.conv_module2, x_BCD, chunk, conv2)
    x_BCD = adapted(x_BCD + y_BCD, layer.post_conv_adapter)
    x_BCD = x_BCD + layer.feed_forward3(x_BCD)
    x_BCD = adapted(layer.bypass(before_BCD, layer.norm(x_BCD)), layer.adapter)
    return x_BCD, [key, gated, value1, value2, conv1, conv2]


def _with_past(past: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Past and present along time, and the past of the next chunk."""
    both = torch.cat([past, x], dim=1)
    return both, both[:, both.shape[1] - past.shape[1] :]


def _weights(module: AttentionWeights, x_BCD: Tensor, chunk: _Chunk, past_BLN: Tensor) -> tuple[Tensor, Tensor]:
    heads, C = module.heads, x_BCD.shape[1]
    keys = heads * module.query_dim
    q_BCN, k_BCN, p_BCN = module.in_proj(x_BCD).split([keys, keys, module.linear_pos.out_features], dim=2)
    k_BSN, past_BLN = _with_past(past_BLN, k_BCN)
    q_BHCN, k_BHSN, p_BHCP = (by_head(x, heads) for x in (q_BCN, k_BSN, p_BCN))
    r_HXP = by_head(module.linear_pos(chunk.distance_XE)[None], heads)
    by_distance = p_BHCP @ r_HXP.transpose(2, 3)
    # As `weights.by_key`: the row of the next query begins one distance later.
    B, H, _, X = by_distance.shape
    S = X - C + 1
    rows = by_distance.reshape(B, H, C * X)[:, :, C - 1 : C - 1 + C * (X - 1)] if C > 1 else by_distance
    scores = q_BHCN @ k_BHSN.transpose(2, 3) + rows.reshape(B, H, C, -1)[..., :S] + chunk.hidden
    return scores.float().softmax(-1).to(scores.dtype), past_BLN


def _self_attention(
    module: SelfAttention, x_BCD: Tensor, weights_BHCS: Tensor, past_BLN: Tensor
) -> tuple[Tensor, Tensor]:
    v_BSN, past_BLN = _with_past(past_BLN, module.in_proj(x_BCD))
    return module.out_proj(from_heads(weights_BHCS @ by_head(v_BSN, module.heads))), past_BLN


def _nonlin_attention(
    module: NonlinAttention, x_BCD: Tensor, weights_BHCS: Tensor, past_BLC: Tensor
) -> tuple[Tensor, Tensor]:
    s_BCN, u_BCN, y_BCN = module.in_proj(x_BCD).chunk(3, dim=2)
    gated_BSN, past_BLC = _with_past(past_BLC, s_BCN.tanh() * u_BCN)
    return module.out_proj(weights_BHCS[:, 0] @ gated_BSN * y_BCN), past_BLC


def _convolution(module: ConvolutionModule, x_BCD: Tensor, chunk: _Chunk, past_BKD: Tensor) -> tuple[Tensor, Tensor]:
    x_BCD, gate_BCD = module.in_proj(x_BCD).chunk(2, dim=2)
    x_BCD = x_BCD * gate_BCD.sigmoid() * chunk.valid_BC[..., None]
    both_BSD, past_BKD = _with_past(past_BKD, x_BCD)
    conv = cast("ChunkCausalConvolution", module.depthwise_conv)
    causal_BDC = _depthwise(conv.causal_conv, both_BSD, 0)
    chunkwise_BDC = _depthwise(conv.chunkwise_conv, x_BCD, conv.kernel // 2)
    scale_BCD = conv.scale(chunk.size_B, x_BCD.shape[1])
    y_BCD = torch.addcmul(causal_BDC.transpose(1, 2), chunkwise_BDC.transpose(1, 2), scale_BCD.to(x_BCD.dtype))
    return module.out_proj(y_BCD.contiguous()), past_BKD


def _depthwise(conv: nn.Conv1d, x_BTD: Tensor, padding: int) -> Tensor:
    return F.conv1d(x_BTD.transpose(1, 2), conv.weight, conv.bias, padding=padding, groups=conv.groups)
