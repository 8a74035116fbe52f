"""A layer of the Zipformer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rnnt.model.encoders.adapter import adapted, make_adapter
from rnnt.model.encoders.zipformer.attention import AttentionWeights, NonlinAttention, SelfAttention
from rnnt.model.encoders.zipformer.bypass import Bypass
from rnnt.model.encoders.zipformer.convolution import ConvolutionModule
from rnnt.model.encoders.zipformer.feedforward import FeedForward
from rnnt.model.encoders.zipformer.norm import BiasNorm
from rnnt.model.regularisers import chance
from rnnt.model.regularisers.balancer import Balancer
from rnnt.model.regularisers.dropout import UtteranceDrop
from rnnt.model.regularisers.schedule import Schedule, Scheduled
from rnnt.model.regularisers.whiten import Whiten, whitening_schedule

if TYPE_CHECKING:
    from rnnt.model.encoders.zipformer.config import StackSizes
    from rnnt.model.encoders.zipformer.context import Context

PART_SKIP = Schedule(((0.0, 0.2), (4000.0, 0.05), (16000.0, 0.0)))
FEED_FORWARD_SKIP = Schedule(((0.0, 0.1), (4000.0, 0.01), (50000.0, 0.0)))
CONSTANT_ATTENTION = Schedule(((0.0, 0.25), (4000.0, 0.025)))


class ZipformerLayer(Scheduled):
    """Three feed-forward modules, two of attention, two of convolution and one of both kinds, each added to its input.

    The attention weights are those of the layer's input, computed once. Between the halves of the layer and at its end
    stands a bypass of all so far. In training, parts are left out on some utterances, more of them at first. There may
    be four adapters, at the places that icefall's names say.

    Args:
        sizes: of the stack.
        skip_rate: fraction of the utterances that the layer leaves as they are.
    """

    def __init__(self, sizes: StackSizes, skip_rate: Schedule) -> None:
        super().__init__()
        dim, hidden = sizes.encoder_dim, sizes.feedforward_dim
        self.self_attn_weights = AttentionWeights(sizes)
        self.feed_forward1 = FeedForward(dim, 3 * hidden // 4)
        self.nonlin_attention = NonlinAttention(dim)
        self.self_attn1 = SelfAttention(dim, sizes.num_heads, sizes.value_head_dim)
        self.conv_module1 = ConvolutionModule(dim, sizes.cnn_module_kernel, sizes.causal)
        self.feed_forward2 = FeedForward(dim, hidden)
        self.bypass_mid = Bypass(dim)
        self.self_attn2 = SelfAttention(dim, sizes.num_heads, sizes.value_head_dim)
        self.conv_module2 = ConvolutionModule(dim, sizes.cnn_module_kernel, sizes.causal)
        self.feed_forward3 = FeedForward(dim, 5 * hidden // 4)
        self.norm = BiasNorm(dim)
        self.bypass = Bypass(dim, skip_rate)
        # Never used, in icefall neither: its checkpoints have it. Without gradient no rank waits for one.
        self.bypass_scale = nn.Parameter(torch.full((dim,), 0.5), requires_grad=False)

        self.post_sa_adapter = make_adapter(dim, sizes.adapter_dim)
        self.mid_adapter = make_adapter(dim, sizes.adapter_dim)
        self.post_conv_adapter = make_adapter(dim, sizes.adapter_dim)
        self.adapter = make_adapter(dim, sizes.adapter_dim)

        self.attention_skip = UtteranceDrop(PART_SKIP)
        self.conv_skip = UtteranceDrop(PART_SKIP)
        self.ff2_skip, self.ff3_skip = UtteranceDrop(FEED_FORWARD_SKIP), UtteranceDrop(FEED_FORWARD_SKIP)
        self.balancer_na = _part_balancer(Schedule(((0.0, 0.004), (4000.0, 0.02))), 100.0)
        self.balancer_ff2 = _part_balancer(Schedule(((0.0, 0.0), (4000.0, 0.1))), 2.0)
        self.balancer_ff3 = _part_balancer(Schedule(((0.0, 0.0), (4000.0, 0.2))), 4.0)
        self.balancer1 = Balancer(min_positive=0.45, max_positive=0.55, min_abs=0.2, max_abs=4.0)
        self.balancer2 = Balancer(min_positive=0.45, max_positive=0.55, min_abs=0.1, max_abs=4.0)
        self.whiten = Whiten(whitening_schedule(4.0, ratio=3.0))

    def forward(self, x_BTD: Tensor, distance_XE: Tensor, context: Context) -> Tensor:
        """(B, T, D), the encoding of the distances, and what is known of the batch -> (B, T, D)."""
        before_BTD = x_BTD
        weights = self.self_attn_weights(x_BTD, distance_XE, context.hidden)
        is_constant = self.training and chance.happens(self.now(CONSTANT_ATTENTION))
        attention_B11 = self.attention_skip.mask(x_BTD)

        x_BTD = x_BTD + self.feed_forward1(x_BTD)
        x_BTD = x_BTD + _times(self.balancer_na(self.nonlin_attention(x_BTD, weights, is_constant)), attention_B11)
        x_BTD = adapted(x_BTD + _times(self.self_attn1(x_BTD, weights), attention_B11), self.post_sa_adapter)
        x_BTD = x_BTD + self.conv_skip(self.conv_module1(x_BTD, context))
        x_BTD = x_BTD + self.ff2_skip(self.balancer_ff2(self.feed_forward2(x_BTD)))
        x_BTD = adapted(self.bypass_mid(before_BTD, x_BTD), self.mid_adapter)
        x_BTD = x_BTD + _times(self.self_attn2(x_BTD, weights), attention_B11)
        x_BTD = adapted(x_BTD + self.conv_skip(self.conv_module2(x_BTD, context)), self.post_conv_adapter)
        x_BTD = x_BTD + self.ff3_skip(self.balancer_ff3(self.feed_forward3(x_BTD)))
        x_BTD = self.norm(self.balancer1(x_BTD))
        return adapted(self.whiten(self.balancer2(self.bypass(before_BTD, x_BTD))), self.adapter)


def _part_balancer(min_abs: Schedule, max_abs: float) -> Balancer:
    """The balancer of a part's output, before it is added: against a rare fault, and seldom."""
    return Balancer(min_positive=0.3, max_positive=0.7, min_abs=min_abs, max_abs=max_abs, probability=0.05)


def _times(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask
