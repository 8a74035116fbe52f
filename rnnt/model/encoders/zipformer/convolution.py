"""The convolution module of the Zipformer, and its convolution that looks no further than the end of a chunk.

Letters: K the kernel; in chunks, N of them with C frames each.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnnt.model.encoders.zipformer.activations import SwooshLinear, scale_first_weights
from rnnt.model.encoders.zipformer.context import Context
from rnnt.model.layers import Linear
from rnnt.model.regularisers.balancer import Balancer
from rnnt.model.regularisers.schedule import Schedule
from rnnt.model.regularisers.whiten import Whiten, whitening_schedule
from rnnt.ops.compiling import is_tracing
from rnnt.ops.matmul import autocast_type
from rnnt.ops.swoosh import RIGHT


class ConvolutionModule(nn.Module):
    """Gate, convolution of each channel over time, SwooshR, linear layer: (B, T, D) -> (B, T, D).

    Args:
        dim: channels.
        kernel: frames that the convolution sees, odd.
        causal: whether it looks no further ahead than the end of a chunk.
    """

    def __init__(self, dim: int, kernel: int, causal: bool) -> None:
        super().__init__()
        self.in_proj = Linear(dim, 2 * dim)
        self.balancer1 = Balancer(
            min_positive=Schedule(((0.0, 0.05), (8000.0, 0.025))),
            max_positive=1.0,
            min_abs=1.5,
            max_abs=Schedule(((0.0, 5.0), (8000.0, 10.0)), default=1.0),
        )
        make = ChunkCausalConvolution if causal else DepthwiseConvolution
        self.depthwise_conv = make(dim, kernel)
        self.balancer2 = Balancer(
            min_positive=Schedule(((0.0, 0.1), (8000.0, 0.05))),
            max_positive=1.0,
            min_abs=Schedule(((0.0, 0.2), (20000.0, 0.5))),
            max_abs=10.0,
        )
        self.whiten = Whiten(whitening_schedule(7.5))
        self.out_proj = SwooshLinear(dim, dim, RIGHT, init_scale=0.05)

    def forward(self, x_BTD: Tensor, context: Context) -> Tensor:
        """(B, T, D) -> (B, T, D); the convolution sees zeros past the end of an utterance."""
        x_BTD, gate_BTD = self.in_proj(x_BTD).chunk(2, dim=2)
        x_BTD = _gated(x_BTD, self.balancer1(gate_BTD), context.valid_BT[..., None])
        x_BTD = self.depthwise_conv(x_BTD, context)
        return self.out_proj(self.whiten(self.balancer2(x_BTD)))


class _Gate(torch.autograd.Function):
    """x * sigmoid(gate) on valid frames, 0 elsewhere; keeps its inputs alone."""

    @staticmethod
    def forward(ctx: Any, x_BTD: Tensor, gate_BTD: Tensor, valid_BT1: Tensor) -> Tensor:
        ctx.save_for_backward(x_BTD, gate_BTD, valid_BT1)
        return torch.sigmoid(gate_BTD).mul_(x_BTD).mul_(valid_BT1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_BTD: Tensor) -> tuple[Tensor, Tensor, None]:
        x_BTD, gate_BTD, valid_BT1 = ctx.saved_tensors
        open_BTD = torch.sigmoid(gate_BTD)
        x_grad_BTD = (grad_BTD * valid_BT1).mul_(open_BTD)
        return x_grad_BTD, open_BTD.neg_().add_(1).mul_(x_BTD).mul_(x_grad_BTD), None


def _gated(x_BTD: Tensor, gate_BTD: Tensor, valid_BT1: Tensor) -> Tensor:
    if is_tracing():
        return torch.sigmoid(gate_BTD) * x_BTD * valid_BT1
    return _Gate.apply(x_BTD, gate_BTD, valid_BT1)


def depthwise(x_BTD: Tensor, conv: nn.Conv1d, padding: int) -> Tensor:
    """The convolution of each channel over time, with zeros on both sides: (B, T, D) -> (B, T', D)."""
    if x_BTD.device.type == "cpu" and autocast_type("cpu") is None and not is_tracing():
        return _Depthwise.apply(x_BTD, conv.weight, conv.bias, padding)
    return F.conv1d(x_BTD.transpose(1, 2), conv.weight, conv.bias, padding=padding, groups=conv.groups).transpose(1, 2)


def _depthwise(x_BTD: Tensor, weight_D1K: Tensor, bias_D: Tensor | None, padding: int) -> Tensor:
    """As a picture with channels last, which (B, T, D) is: on a CPU many times as fast as (B, D, T)."""
    x_BD1T, weight_D11K = x_BTD.transpose(1, 2)[:, :, None], weight_D1K[:, :, None]
    y_BD1T = F.conv2d(x_BD1T, weight_D11K, bias_D, padding=(0, padding), groups=len(weight_D1K))
    return y_BD1T[:, :, 0].transpose(1, 2)


class _Depthwise(torch.autograd.Function):
    """The gradient of the weights, tap by tap, is faster than the library's."""

    @staticmethod
    def forward(ctx: Any, x_BTD: Tensor, weight_D1K: Tensor, bias_D: Tensor, padding: int) -> Tensor:
        ctx.save_for_backward(x_BTD, weight_D1K)
        ctx.padding = padding
        return _depthwise(x_BTD, weight_D1K, bias_D, padding)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_BTD: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x_BTD, weight_D1K = ctx.saved_tensors
        K, T, padding = weight_D1K.shape[2], grad_BTD.shape[1], ctx.padding
        grad_BTD = grad_BTD.contiguous()
        x_grad_BTD = _depthwise(grad_BTD, weight_D1K.flip(2), None, K - 1 - padding)
        x_BTD = F.pad(x_BTD, (0, 0, padding, padding))
        weight_grad_KD = grad_BTD.new_empty(K, x_BTD.shape[2])
        product_BTD = torch.empty_like(grad_BTD)
        for k in range(K):
            torch.mul(grad_BTD, x_BTD[:, k : k + T], out=product_BTD)
            torch.sum(product_BTD, (0, 1), out=weight_grad_KD[k])
        return x_grad_BTD, weight_grad_KD.t()[:, None], grad_BTD.sum((0, 1)), None


class DepthwiseConvolution(nn.Conv1d):
    """Convolution of each channel with as many frames before as after."""

    def __init__(self, dim: int, kernel: int) -> None:
        super().__init__(dim, dim, kernel, groups=dim)

    def forward(self, x_BTD: Tensor, context: Context) -> Tensor:  # type: ignore[override]
        """(B, T, D) -> (B, T, D)."""
        return depthwise(x_BTD, self, self.kernel_size[0] // 2)


class ChunkCausalConvolution(nn.Module):
    """The sum of a causal convolution, and of one within each chunk that sees zeros around it.

    The second is scaled by 1 + a learnt number for each of the first and of the last K frames of a chunk, which lack
    neighbours on one side. Without chunks, an utterance is one. The end of an utterance that is shorter than a chunk
    is the end of its chunk, as if it were alone.
    """

    def __init__(self, dim: int, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.causal_conv = nn.Conv1d(dim, dim, (kernel + 1) // 2, groups=dim)
        scale_first_weights(self.causal_conv, 1.0)
        self.chunkwise_conv = nn.Conv1d(dim, dim, kernel, groups=dim)
        self.chunkwise_conv_scale = nn.Parameter(torch.zeros(2, dim, kernel))

    def forward(self, x_BTD: Tensor, context: Context) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        B, T, _ = x_BTD.shape
        causal_BTD = depthwise(F.pad(x_BTD, (0, 0, self.kernel // 2, 0)), self.causal_conv, 0)
        size, x_NCD = T, x_BTD
        # A graph is for any T: a chunk that is longer than the utterance gives the same.
        if context.chunk_size > 0 and (is_tracing() or context.chunk_size < T):
            size = context.chunk_size
            x_NCD = F.pad(x_BTD, (0, 0, 0, -T % size)).unflatten(1, (-1, size)).flatten(0, 1)
        chunkwise_BTD = depthwise(x_NCD, self.chunkwise_conv, self.kernel // 2).reshape(B, -1, x_BTD.shape[2])[:, :T]
        # The frames of each utterance's chunks: all of a shorter utterance is one.
        scale_BTD = self.scale(context.len_B.clamp(min=1, max=size), size).repeat(1, (T + size - 1) // size, 1)[:, :T]
        return torch.addcmul(causal_BTD, chunkwise_BTD, scale_BTD.to(causal_BTD.dtype))

    def scale(self, size_B: Tensor, T: int) -> Tensor:
        """The factor on the convolution within each chunk, of frames 0 to T - 1 of a chunk of `size_B`: (B, T, D)."""
        frame_T = torch.arange(T, device=size_B.device)
        after_BT = size_B[:, None] - frame_T  # frames to the end of the chunk, the frame itself included
        left_KD, right_KD = F.pad(self.chunkwise_conv_scale, (1, 1)).transpose(1, 2)
        left_TD = left_KD[(frame_T + 1).clamp(max=self.kernel + 1)]
        return 1 + left_TD + right_KD[(self.kernel + 1 - after_BT).clamp(0, self.kernel + 1)]
