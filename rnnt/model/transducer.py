"""The network: encoder, predictor and joiner. What trains it is in `rnnt.model.objectives`."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rnnt.model.config import PREDICTORS
from rnnt.model.encoders import ENCODERS
from rnnt.model.joiner import Joiner
from rnnt.model.masking import ceil_div, valid_mask

if TYPE_CHECKING:
    import numpy as np

    from rnnt.model.config import ModelConfig


class Transducer(nn.Module):
    """RNN-T (Graves 2012, https://arxiv.org/abs/1211.3711), or its encoder alone.

    Attributes:
        encoder: features in, h out.
        predictor, joiner: None with `config.transducer` false.
        heads: objectives whose layers a search can use, by name; none unless `with_heads` gave them.

    Args:
        config: must have `num_features` and `vocab_size` filled in.

    Raises:
        ValueError: they are not.
    """

    feature_mean: Tensor
    feature_std: Tensor
    predictor: Any
    joiner: Any

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if not (config.num_features and config.vocab_size):
            raise ValueError("num_features and vocab_size must be known before a model is made")
        self.config = config
        self.blank_id = config.blank_id or 0
        self.vocab_size = config.vocab_size
        self.subsampling_factor = config.encoder.subsampling_factor
        self.encoder = ENCODERS.implementation(config.encoder)(config.encoder, config.num_features)
        self.predictor = self.joiner = None
        if config.transducer:
            make_predictor = PREDICTORS.implementation(config.predictor)
            self.predictor = make_predictor(config.predictor, self.vocab_size, self.blank_id)
            self.joiner = Joiner(self.encoder.dim, self.predictor.dim, self.vocab_size, config.joiner)
        self.heads = nn.ModuleDict()
        self.register_buffer("feature_mean", torch.zeros(config.num_features))
        self.register_buffer("feature_std", torch.ones(config.num_features))

    def with_heads(self, heads: Mapping[str, nn.Module]) -> Transducer:
        """The same network with these heads; it shares all weights."""
        changed = copy.copy(self)
        changed._modules = {**self._modules, "heads": nn.ModuleDict(heads)}
        return changed

    def set_feature_statistics(self, mean: Sequence[float] | np.ndarray, std: Sequence[float] | np.ndarray) -> None:
        """Mean and standard deviation of each feature over the training set, sequences of F numbers."""
        self.feature_mean.copy_(torch.as_tensor(mean))
        self.feature_std.copy_(torch.as_tensor(std).clamp(min=1e-5))

    def encode(self, x_BTF: Tensor, x_len_B: Tensor) -> tuple[Tensor, Tensor]:
        """Padded features (B, T, F) and lengths (B,) -> encoder output h (B, T', D) and lengths (B,)."""
        x_len_B = x_len_B.to(x_BTF.device)
        x_BTF = (x_BTF - self.feature_mean) / self.feature_std
        return self.encoder(x_BTF * valid_mask(x_len_B, x_BTF.shape[1])[..., None], x_len_B)

    def encoded_lengths(self, x_len_B: Tensor) -> Tensor:
        """Lengths of the encoder output for feature lengths, on the same device."""
        own = getattr(self.encoder, "output_lengths", None)
        return ceil_div(x_len_B, self.subsampling_factor) if own is None else own(x_len_B)
