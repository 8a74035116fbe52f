"""Stacks of layers at one frame rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from rnnt.model.encoders.zipformer.bypass import Bypass, Downsample, upsample
from rnnt.model.encoders.zipformer.layer import ZipformerLayer
from rnnt.model.encoders.zipformer.positions import distance_encoding
from rnnt.model.regularisers import chance
from rnnt.model.regularisers.schedule import Schedule

if TYPE_CHECKING:
    from rnnt.model.encoders.zipformer.config import StackSizes
    from rnnt.model.encoders.zipformer.context import Context

DISTANCE_DROPOUT = 0.15
WARM_UP = 4000.0  # batches until all layers take part on most utterances


class Stack(nn.Module):
    """Layers at the rate of the input: (B, T, D) -> (B, T, D).

    Args:
        sizes: of the stack.
        begin, end: batch counts between which its layers, one after the other, begin to take part.
    """

    def __init__(self, sizes: StackSizes, begin: float, end: float) -> None:
        super().__init__()
        self.pos_dim = sizes.pos_dim
        self.distance_dropout = DISTANCE_DROPOUT
        number, last_rate = sizes.num_encoder_layers, 0.035 * sizes.downsampling_factor**0.5
        moments = [begin + (end - begin) * i / number for i in range(number + 1)]
        self.layers = nn.ModuleList(
            ZipformerLayer(sizes, Schedule(((first, 0.5), (last, last_rate))))
            for first, last in zip(moments, moments[1:])
        )

    def forward(self, x_BTD: Tensor, context: Context, feature_mask: Tensor | None) -> Tensor:
        """(B, T, D), what is known of the batch, and what x is multiplied by before and after each layer."""
        distance_XE = distance_encoding(x_BTD.shape[1], self.pos_dim, x_BTD.device)
        if self.training and self.distance_dropout:
            kept_XE = chance.kept(tuple(distance_XE.shape), self.distance_dropout, distance_XE)
            distance_XE = distance_XE * kept_XE / (1 - self.distance_dropout)
        if feature_mask is not None:
            x_BTD = x_BTD * feature_mask
        for layer in self.layers:
            x_BTD = layer(x_BTD, distance_XE, context)
            if feature_mask is not None:
                x_BTD = x_BTD * feature_mask
        return x_BTD


class DownsampledStack(nn.Module):
    """A `Stack` at a lower rate, and a bypass around it: (B, T, D) -> (B, T, D)."""

    def __init__(self, sizes: StackSizes, begin: float, end: float) -> None:
        super().__init__()
        self.factor = sizes.downsampling_factor
        self.downsample = Downsample(self.factor)
        self.encoder = Stack(sizes, begin, end)
        self.out_combiner = Bypass(sizes.encoder_dim)

    def forward(self, x_BTD: Tensor, len_B: Tensor, context: Context, feature_mask: Tensor | None) -> Tensor:
        """(B, T, D) with its lengths, and what is known of the batch at the lower rate."""
        y_BTD = self.encoder(self.downsample(x_BTD, len_B), context, feature_mask)
        return self.out_combiner(x_BTD, upsample(y_BTD, self.factor, x_BTD.shape[1]))
