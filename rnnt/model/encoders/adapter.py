"""Adapters: narrow layers added to a trained encoder, which alone learn.

Source: Houlsby et al. 2019, https://arxiv.org/abs/1902.00751; for the Zipformer icefall's zipformer_adapter recipe,
whose names the weights have.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from rnnt.model.encoders.zipformer.activations import SwooshLinear
from rnnt.model.layers import Linear
from rnnt.ops.swoosh import LEFT

if TYPE_CHECKING:
    from rnnt.model.encoders.config import EncoderConfig
    from rnnt.model.transducer import Transducer


class Adapter(nn.Module):
    """x + W2 SwooshL(W1 x + b1) + b2.

    Training begins with the outputs of the encoder as it was: at first the two halves of the inner layer are equal in
    W1, as torch draws it, and opposite in W2, and b2 is 0. W2 = 0 would do that too, but ScaledAdam's steps are as
    small as the tensors: it hardly leaves 0 in hundreds of updates. icefall draws all of them.

    Source of the halves: Chizat et al. 2019, https://arxiv.org/abs/1812.07956.

    Args:
        dim: width of x.
        inner: that of the layer between.
    """

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__()
        self.in_proj = Linear(dim, inner)
        self.out_proj = SwooshLinear(inner, dim, LEFT, init_scale=1.0)
        half = inner // 2
        with torch.no_grad():
            for parameter in self.in_proj.parameters():
                parameter[half : 2 * half] = parameter[:half]
            self.out_proj.weight[:, half : 2 * half] = -self.out_proj.weight[:, :half]
            self.out_proj.weight[:, 2 * half :] = 0
            self.out_proj.bias.zero_()

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        return x_BTD + self.out_proj(self.in_proj(x_BTD))


def make_adapter(dim: int, inner: int) -> Adapter | None:
    """An adapter; with `inner` 0 none."""
    return Adapter(dim, inner) if inner else None


def adapted(x_BTD: Tensor, adapter: Adapter | None) -> Tensor:
    """What the adapter makes of x; where there is none, x."""
    return x_BTD if adapter is None else adapter(x_BTD)


def adapters(model: nn.Module) -> list[str]:
    """The names of the adapters of a model."""
    return [name for name, module in model.named_modules() if isinstance(module, Adapter)]


def adapter_dim(config: EncoderConfig) -> int:
    """The inner width of the adapters that the configuration of an encoder asks for; 0: none."""
    return getattr(config, "adapter_dim", 0)


def plain(config: EncoderConfig) -> EncoderConfig:
    """The configuration of an encoder with adapters, without them."""
    changed: Any = config
    return cast("EncoderConfig", replace(changed, adapter_dim=0))


def without_adapters(network: Transducer) -> Transducer:
    """The same network without its adapters, which shares no weight of the encoder, predictor and joiner with it."""
    config = replace(network.config, encoder=plain(network.config.encoder))
    changed = type(network)(config).with_heads(dict(network.heads.items()))
    weights = network.state_dict()
    changed.load_state_dict({name: weights[name] for name in changed.state_dict()})
    return changed.train(network.training)
