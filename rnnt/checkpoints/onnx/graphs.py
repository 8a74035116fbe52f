"""The parts of a transducer as sherpa-onnx calls them: what is traced into ONNX graphs.

Token 0 is blank in every graph: `blank_first` says which token of the model each one is.
"""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn

from rnnt.model.layers import Linear
from rnnt.model.predictor import LSTMPredictor, StatelessPredictor
from rnnt.model.transducer import Transducer

LSTM_CONTEXT = 256  # tokens that an exported LSTM predictor reads at most


def blank_first(vocab_size: int, blank_id: int) -> list[int]:
    """The model's id of each token of the graphs: blank, then all others in their order."""
    return [blank_id, *(i for i in range(vocab_size) if i != blank_id)]


class EncoderGraph(nn.Module):
    """x (N, T, F), x_lens (N,) -> projected encoder output (N, T', J), lengths (N,); normalisation included."""

    def __init__(self, network: Transducer) -> None:
        super().__init__()
        self.network = network

    def forward(self, x_BTF: Tensor, x_len_B: Tensor) -> tuple[Tensor, Tensor]:
        """As the class says."""
        h_BTD, len_B = self.network.encode(x_BTF, x_len_B)
        return self.network.joiner.project_encoder(h_BTD), len_B


class CTCGraph(nn.Module):
    """x (N, T, F), x_lens (N,) -> log-probabilities (N, T', V), lengths (N,)."""

    order_V: Tensor

    def __init__(self, network: Transducer) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("order_V", torch.tensor(blank_first(network.vocab_size, network.blank_id)))

    def forward(self, x_BTF: Tensor, x_len_B: Tensor) -> tuple[Tensor, Tensor]:
        """As the class says."""
        h_BTD, len_B = self.network.encode(x_BTF, x_len_B)
        head: nn.Module = self.network.heads["ctc"]
        return head.log_probs(h_BTD)[..., self.order_V], len_B  # type: ignore[operator]


class DecoderGraph(nn.Module):
    """The last tokens (N, context size), negative before the start -> projected predictor output (N, J).

    A stateless predictor sees as many tokens as it was trained with. sherpa-onnx carries no state of its own for
    others, so that an LSTM reads all tokens of the utterance again each time: up to `LSTM_CONTEXT` of them.
    """

    order_V: Tensor

    def __init__(self, network: Transducer) -> None:
        super().__init__()
        self.predictor: StatelessPredictor | LSTMPredictor = network.predictor
        self.joiner = network.joiner
        self.register_buffer("order_V", torch.tensor(blank_first(network.vocab_size, network.blank_id)))
        is_stateless = isinstance(network.predictor, StatelessPredictor)
        self.context_size = network.predictor.context_size if is_stateless else LSTM_CONTEXT

    def forward(self, y_NC: Tensor) -> Tensor:
        """As the class says."""
        is_token_NC = y_NC >= 0
        y_NC = self.order_V[y_NC.clamp(min=0)]
        if isinstance(self.predictor, StatelessPredictor):
            g_ND = self.predictor.output_of(y_NC, is_token_NC)
        else:
            g_ND = self._last_output(self.predictor, y_NC, is_token_NC.long().sum(1))
        return self.joiner.project_predictor(g_ND)

    def _last_output(self, predictor: LSTMPredictor, y_NC: Tensor, count_N: Tensor) -> Tensor:
        """The LSTM's output after the last `count_N` tokens."""
        place_S = torch.arange(count_N.max())  # type: ignore[call-overload]  # a number, traced
        first_N1 = self.context_size - count_N[:, None]
        y_NS = y_NC.gather(1, (place_S + first_N1).clamp(max=self.context_size - 1))
        g_NSD = predictor.lstm(predictor.embedding(y_NS))[0]
        last_N11 = (count_N - 1).clamp(min=0)[:, None, None]
        return g_NSD.gather(1, last_N11.expand(-1, 1, predictor.dim))[:, 0]


class JoinerGraph(nn.Module):
    """Projected outputs of encoder and predictor (N, J) each -> logits (N, V)."""

    def __init__(self, network: Transducer) -> None:
        super().__init__()
        self.joiner = copy.copy(network.joiner)
        order_V = torch.tensor(blank_first(network.vocab_size, network.blank_id))
        output = Linear(network.joiner.output.in_features, network.vocab_size)
        with torch.no_grad():
            output.weight.copy_(network.joiner.output.weight[order_V])
            output.bias.copy_(network.joiner.output.bias[order_V])
        self.joiner._modules = {**network.joiner._modules, "output": output}

    def forward(self, e_NJ: Tensor, p_NJ: Tensor) -> Tensor:
        """As the class says."""
        return self.joiner.logits(e_NJ, p_NJ)


class UnprojectedLSTM(nn.Module):
    """A projected LSTM as a plain one, which ONNX has, and a linear layer.

    The projection W_p of the cells' output joins the recurrent weights: W_h (W_p y) = (W_h W_p) y.
    """

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.num_layers, self.hidden_size, self.proj_size = 1, lstm.hidden_size, 0
        self.lstm = nn.LSTM(lstm.input_size, lstm.hidden_size, batch_first=True)
        self.projection = Linear(lstm.hidden_size, lstm.proj_size, bias=False)
        with torch.no_grad():
            weights = dict(lstm.named_parameters())
            projection_PH = weights.pop("weight_hr_l0")
            recurrent = weights["weight_hh_l0"].double() @ projection_PH.double()
            self.lstm.load_state_dict({**weights, "weight_hh_l0": recurrent.float()})
            self.projection.weight.copy_(projection_PH)

    @property
    def weight_hh_l0(self) -> Tensor:
        """Says on which device a state is to be."""
        return cast(Tensor, self.lstm.weight_hh_l0)

    def forward(
        self, x_BTD: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """(B, T, D) -> (B, T, P), and the state (1, B, H) twice."""
        y_BTH, state = self.lstm(x_BTD, state)
        return self.projection(y_BTH), state


def without_projections(network: Transducer) -> Transducer:
    """A copy of the network in which `UnprojectedLSTM` stands for projected LSTMs."""
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.LSTM) and child.proj_size:
                setattr(module, name, UnprojectedLSTM(child))
    return network.eval()
