"""Layers that several parts of the model share."""

import contextlib
import copy
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from rnnt.ops.matmul import can_pack, linear, prepack_weight, projection

FEW_ROWS = 192  # of a batch, all frames counted, of which an LSTM is faster by plain matrix products on a CPU


def lstm_state(lstm: nn.LSTM, batch: int) -> list[Tensor]:
    """Zeros: output and cells of an LSTM's layers, (B, L, D) each."""
    weight = cast(Tensor, lstm.weight_hh_l0)
    return [
        weight.new_zeros(batch, lstm.num_layers, size)
        for size in (lstm.proj_size or lstm.hidden_size, lstm.hidden_size)
    ]


def stream_lstm(lstm: nn.LSTM, x_BTD: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """(B, T, D) behind what made `state` -> (B, T, D) and the state behind it."""
    h_LBD, c_LBD = (part.transpose(0, 1).contiguous() for part in state)
    with _plain_products(not torch.jit.is_tracing() and x_BTD.shape[0] * x_BTD.shape[1] <= FEW_ROWS):
        x_BTD, kept = lstm(x_BTD, (h_LBD, c_LBD))
    return x_BTD, [part.transpose(0, 1) for part in kept]


@contextlib.contextmanager
def _plain_products(wanted: bool) -> Iterator[None]:
    """Without oneDNN, whose LSTM reorders all weights in each call: longer than it then needs for a few rows."""
    library: Any = torch.backends.mkldnn
    before = library.enabled
    library.enabled = before and not wanted
    try:
        yield
    finally:
        library.enabled = before


class Linear(nn.Linear):
    """`nn.Linear` by the faster matrix products on a CPU; the same weights, the same numbers up to rounding."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return projection(x, self.weight, self.bias)


class FeedForward(nn.Sequential):
    """Two linear layers with SiLU between; dropout after both. (..., D) -> (..., D)."""

    def __init__(self, dim: int, hidden_dim: int, dropout: float) -> None:
        inner = Linear(dim, hidden_dim), nn.SiLU(), nn.Dropout(dropout)
        super().__init__(*inner, Linear(hidden_dim, dim), nn.Dropout(dropout))


class TimeSharedDropout(nn.Module):
    """Dropout that drops the same channels of an utterance at all frames.

    The right kind for recurrent layers, and T times fewer random numbers.
    Source: Gal & Ghahramani 2016, https://arxiv.org/abs/1512.05287.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D); unchanged in evaluation."""
        if not self.training or self.p == 0:
            return x_BTD
        kept_B1D = torch.empty_like(x_BTD[:, :1]).bernoulli_(1 - self.p).div_(1 - self.p)
        return x_BTD * kept_B1D


class PrepackedLinear(nn.Module):
    """The same function as a `nn.Linear`, without gradients. `rows` is the usual number of rows of the input."""

    def __init__(self, layer: nn.Linear, rows: int) -> None:
        super().__init__()
        self._weight = prepack_weight(layer.weight, rows)
        self._bias = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return linear(x, self._weight, self._bias)


def with_prepacked_weights(module: Any, rows: int) -> Any:
    """A copy of `module` whose `nn.Linear` children are packed where that works; other parameters are shared."""
    changed = copy.copy(module)
    changed._modules = {
        name: PrepackedLinear(child, rows) if isinstance(child, nn.Linear) and can_pack(child.weight) else child
        for name, child in module._modules.items()
    }
    return changed


def init_scaled(layer: nn.Linear, scale: float) -> None:
    """Torch's first weights times `scale`, biases uniform within 0.1 `scale`: icefall's ScaledLinear. At 1, nothing."""
    if scale == 1:
        return
    with torch.no_grad():
        layer.weight.mul_(scale)
        nn.init.uniform_(layer.bias, -0.1 * scale, 0.1 * scale)


def init_lstm(lstm: nn.LSTM) -> None:
    """Xavier input weights, orthogonal recurrent weights, forget gates open.

    Sources: Jozefowicz et al. 2015 (forget bias 1); Saxe et al. 2014, https://arxiv.org/abs/1312.6120 (orthogonal).
    """
    for name, parameter in lstm.named_parameters():
        if "bias" in name:
            nn.init.zeros_(parameter)
            if "bias_ih" in name:
                nn.init.ones_(parameter.data.chunk(4)[1])
        else:
            for gate in parameter.data.chunk(4):
                nn.init.orthogonal_(gate) if "weight_hh" in name else nn.init.xavier_uniform_(gate)


def init_lstm_uniform(lstm: nn.LSTM, scale: float) -> None:
    """Torch's uniform weights within 1 / sqrt(hidden), forget gates at 1, then all times `scale`.

    Source: the MLPerf training reference of RNN-T, where the forget gates so end at `scale`.
    """
    with torch.no_grad():
        for name, parameter in lstm.named_parameters():
            if "bias" in name:
                parameter.chunk(4)[1].fill_(1.0 if "bias_ih" in name else 0.0)
            parameter.mul_(scale)
