"""The convolutional front of the Zipformer: half as many frames, each of all frequencies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnnt.model.encoders.zipformer.activations import SwooshR, scale_first_weights, swoosh_linear
from rnnt.model.encoders.zipformer.feedforward import DROPOUT
from rnnt.model.encoders.zipformer.norm import BiasNorm
from rnnt.model.layers import Linear
from rnnt.model.masking import valid_mask
from rnnt.model.regularisers.balancer import Balancer
from rnnt.model.regularisers.dropout import ScheduledDropout, UtteranceDrop
from rnnt.model.regularisers.limits import ScaleGradient
from rnnt.model.regularisers.schedule import Schedule
from rnnt.model.regularisers.whiten import Whiten
from rnnt.ops.compiling import is_tracing
from rnnt.ops.matmul import projection
from rnnt.ops.swoosh import LEFT

FEWEST_FRAMES = 9  # that make one


class ConvNeXt(nn.Module):
    """x + a convolution of 7 x 7 in each channel, and two linear layers over channels: (B, T, F, C) -> the same.

    Source: Liu et al. 2022, https://arxiv.org/abs/2201.03545, without its normalisation.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = 3 * channels
        self.depthwise_conv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.pointwise_conv1 = nn.Conv2d(channels, hidden, 1)
        self.hidden_balancer = Balancer(min_positive=0.3, max_positive=1.0, min_abs=0.75, max_abs=5.0)
        self.pointwise_conv2 = nn.Conv2d(hidden, channels, 1)
        scale_first_weights(self.pointwise_conv2, 0.01)
        self.skip = UtteranceDrop(Schedule(((0.0, 0.2), (20000.0, 0.015))))
        self.out_balancer = Balancer(min_positive=0.4, max_positive=0.6, min_abs=1.0, max_abs=6.0)
        self.out_whiten = Whiten(5.0)

    def forward(self, x_BTFC: Tensor) -> Tensor:
        """(B, T, F, C) -> (B, T, F, C)."""
        conv = self.depthwise_conv
        convolve = _depthwise if is_tracing() else _Depthwise.apply
        y_BTFC = convolve(x_BTFC.permute(0, 3, 1, 2), conv.weight, conv.bias).permute(0, 2, 3, 1)
        # The convolutions of 1 x 1 are matrix products.
        first, second = self.pointwise_conv1, self.pointwise_conv2
        y_BTFC = self.hidden_balancer(projection(y_BTFC, first.weight.flatten(1), first.bias))
        y_BXC = swoosh_linear(y_BTFC.flatten(1, 2), second.weight.flatten(1), cast(Tensor, second.bias), LEFT)
        y_BTFC = self.skip(y_BXC.view_as(x_BTFC))
        return self.out_whiten(self.out_balancer(x_BTFC + y_BTFC))


class _Depthwise(torch.autograd.Function):
    """Convolution of K x K in each channel, for channels last; the gradient of the input is such a one as well."""

    @staticmethod
    def forward(ctx: Any, x_BCTF: Tensor, weight_C1KK: Tensor, bias_C: Tensor) -> Tensor:
        ctx.save_for_backward(x_BCTF, weight_C1KK)
        return _depthwise(x_BCTF, weight_C1KK, bias_C)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_BCTF: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x_BCTF, weight_C1KK = ctx.saved_tensors
        grad_BCTF = grad_BCTF.contiguous(memory_format=torch.channels_last)
        x_grad_BCTF = _depthwise(grad_BCTF, weight_C1KK.flip(2, 3), None)
        x_BCTF, weight = x_BCTF.to(grad_BCTF.dtype), weight_C1KK.to(grad_BCTF.dtype)
        _, weight_grad_C1KK, _ = torch.ops.aten.convolution_backward(
            grad_BCTF, x_BCTF, weight, None, (1, 1), (3, 3), (1, 1), False, (0, 0), len(weight), (False, True, False)
        )
        bias_grad_C = grad_BCTF.sum((0, 2, 3), dtype=weight_C1KK.dtype)
        return x_grad_BCTF, weight_grad_C1KK.to(weight_C1KK.dtype), bias_grad_C


def _depthwise(x_BCTF: Tensor, weight_C1KK: Tensor, bias_C: Tensor | None) -> Tensor:
    return F.conv2d(x_BCTF, weight_C1KK.to(x_BCTF.dtype), bias_C, padding=3, groups=len(weight_C1KK))


class Conv2dSubsampling(nn.Module):
    """Three convolutions of 3 x 3, a ConvNeXt block, a linear layer: (B, T, F) -> (B, (T - 7) // 2, D).

    Output frame i is of the input frames 2 i to 2 i + 8, and of three output frames on either side. Past the end of an
    utterance the ConvNeXt block sees zeros, as if the utterance were alone.

    Args:
        num_features: F, at least 7.
        dim: D.
        channels: of the three convolutions.
    """

    def __init__(self, num_features: int, dim: int, channels: Sequence[int]) -> None:
        super().__init__()
        if num_features < 7:
            raise ValueError(f"the zipformer encoder needs 7 features per frame or more, not {num_features}")
        first, second, third = channels
        self.conv = nn.Sequential(
            nn.Conv2d(1, first, 3, padding=(0, 1)),
            ScaleGradient(0.2),
            Balancer(1, max_abs=1.0),
            SwooshR(),
            nn.Conv2d(first, second, 3, stride=2),
            Balancer(1, max_abs=4.0),
            SwooshR(),
            nn.Conv2d(second, third, 3, stride=(1, 2)),
            Balancer(1, max_abs=4.0),
            SwooshR(),
        )
        self.convnext = ConvNeXt(third)
        self.out = Linear(((num_features - 1) // 2 - 1) // 2 * third, dim)
        self.out_whiten = Whiten(Schedule(((0.0, 4.0), (20000.0, 8.0)), default=4.0), grad_scale=0.02)
        self.out_norm = BiasNorm(dim)
        self.dropout = ScheduledDropout(DROPOUT)

    def forward(self, x_BTF: Tensor, x_len_B: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, F) and lengths -> h (B, T', D), lengths; T' is at least 1."""
        len_B = embedded_lengths(x_len_B)
        if is_tracing():
            x_BCTF = self.conv[0](_at_least(x_BTF, FEWEST_FRAMES)[:, None])
        else:
            x_BTF = F.pad(x_BTF, (0, 0, 0, max(FEWEST_FRAMES - x_BTF.shape[1], 0)))
            # With channels last from here on, pointwise convolutions are matrix products.
            x_BCTF = self.conv[0](x_BTF[:, None]).contiguous(memory_format=torch.channels_last)
        x_BTFC = self.conv[1:](x_BCTF).permute(0, 2, 3, 1)
        x_BTFC = x_BTFC * valid_mask(len_B, x_BTFC.shape[1])[:, :, None, None]
        h_BTD = self.project(self.convnext(x_BTFC))
        return self.dropout(self.out_norm(self.out_whiten(h_BTD))), len_B

    def project(self, x_BTFC: Tensor) -> Tensor:
        """The linear layer, whose weights are for channels of frequencies: the smaller tensor is put in order."""
        weight_DK = self.out.weight.unflatten(1, (x_BTFC.shape[3], -1)).transpose(1, 2).flatten(1)
        return projection(x_BTFC.flatten(2), weight_DK, self.out.bias)


def _at_least(x_BTF: Tensor, frames: int) -> Tensor:
    """Zeros after an utterance that is shorter, in a graph for any T."""
    T: Any = x_BTF.shape[1]  # a tensor, where it is traced
    missing = (frames - T).clamp(min=0)
    return torch.cat([x_BTF, x_BTF.new_zeros(x_BTF.shape[0], missing, x_BTF.shape[2])], dim=1)


def embedded_lengths(x_len_B: Tensor) -> Tensor:
    """Frames after the convolutions."""
    return torch.div(x_len_B - 7, 2, rounding_mode="floor").clamp(min=0)
