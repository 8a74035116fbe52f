"""What the losses are asked to compute, as one value for all backends."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class SimpleLossOptions(NamedTuple):
    """Options of `simple.smoothed_loss`; its docstring says what they mean."""

    blank: int
    lm_only_scale: float
    am_only_scale: float
    rnnt_type: str = "regular"
    delay_penalty: float = 0.0

    @property
    def combined_scale(self) -> float:
        """The weight of the log-probabilities of both sides together."""
        return 1 - self.lm_only_scale - self.am_only_scale


class JoinerLossOptions(NamedTuple):
    """Options of `joiner.pruned_joiner_loss`; its docstring says what they mean.

    `seed` is that of the dropout masks, where the backend draws them itself.
    """

    blank: int
    activation: str = "tanh"
    rnnt_type: str = "regular"
    delay_penalty: float = 0.0
    dropout: float = 0.0
    seed: int = 0


class JoinerInputs(NamedTuple):
    """The tensors of the joiner W activation(enc[t] + pred[s]) + bias, all with gradients."""

    enc_BTJ: Tensor
    pred_BUJ: Tensor
    weight_VJ: Tensor
    bias_V: Tensor


class TDTOptions(NamedTuple):
    """Options of `tdt.tdt_joiner_loss`; its docstring says what they mean. `seed` is that of the dropout masks."""

    blank: int
    durations: tuple[int, ...]
    sigma: float = 0.0
    activation: str = "tanh"
    delay_penalty: float = 0.0
    dropout: float = 0.0
    seed: int = 0


class TDTInputs(NamedTuple):
    """The tensors of a joiner with an output layer for tokens and one for D durations, all with gradients."""

    enc_BTJ: Tensor
    pred_BUJ: Tensor
    weight_VJ: Tensor
    bias_V: Tensor
    duration_weight_DJ: Tensor
    duration_bias_D: Tensor
