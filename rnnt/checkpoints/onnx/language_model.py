"""Language models as ONNX graphs that sherpa-onnx takes with `--lm`.

- lm.onnx, for offline recognisers: x (N, U), x_lens (N,) -> nll (N,), of complete texts and their ends.
- lm-streaming.onnx, of LSTM models, for streaming ones: x (N, 1) and a state h0, c0 (layers, N, D) -> log_softmax
  (N, 1, V) of the next token, and the new state.

The ids of tokens are those of the exported recogniser, which has blank first.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rnnt.checkpoints.onnx.check import TOLERANCES, compare_outputs, open_session, run
from rnnt.checkpoints.onnx.graphs import blank_first
from rnnt.checkpoints.onnx.tracing import need_onnx, save, trace
from rnnt.files import atomic_folder, refuse_existing
from rnnt.model.language.lstm import LSTMLanguageModel
from rnnt.model.layers import lstm_state

if TYPE_CHECKING:
    from rnnt.checkpoints.language_model import TrainedLanguageModel
    from rnnt.model.language.base import LanguageModel

WHOLE, STEP = "lm.onnx", "lm-streaming.onnx"
OPSET_OF_ATTENTION = 14
LENGTHS = ((1,), (7,), (23, 4, 0), (40, 40))


class WholeGraph(nn.Module):
    """Negative log-likelihoods of texts."""

    def __init__(self, network: LanguageModel, order: list[int]) -> None:
        super().__init__()
        self.network = network
        self.order_V = torch.tensor(order)

    def forward(self, y_NU: Tensor, y_len_N: Tensor) -> Tensor:
        """As the module says."""
        return -self.network.token_scores(self.order_V[y_NU], y_len_N).sum(dim=1)


class StepGraph(nn.Module):
    """One token."""

    def __init__(self, network: LSTMLanguageModel, order: list[int]) -> None:
        super().__init__()
        self.network = network
        self.order_V = torch.tensor(order)

    def forward(self, y_N1: Tensor, h_LND: Tensor, c_LND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As the module says."""
        out_N1D, (h_LND, c_LND) = self.network.lstm(self.network.embedding(self.order_V[y_N1]), (h_LND, c_LND))
        logits_N1V = self.network.output(out_N1D)
        return logits_N1V.log_softmax(dim=-1)[..., self.order_V], h_LND, c_LND


def write_onnx_lm(folder: str | Path, trained: TrainedLanguageModel) -> float:
    """Write the folder, completely or not at all; its graphs were compared with the network.

    Args:
        folder: must not exist.
        trained: the model.

    Returns:
        The largest difference between onnxruntime and PyTorch, of log-probabilities.

    Raises:
        UserError: a package is missing, or a graph differs from the network.
    """
    folder = Path(folder)
    refuse_existing(folder)
    need_onnx()
    network = trained.network
    order = blank_first(network.vocab_size, trained.tokenizer.blank_id)
    boundary = order.index(network.boundary_id)
    with atomic_folder(folder) as temporary:
        example = (torch.randint(network.vocab_size, (2, 9)), torch.tensor([9, 5]))
        inputs, outputs = {"x": {0: "N", 1: "L"}, "x_lens": {0: "N"}}, {"nll": {0: "N"}}
        graph = trace(WholeGraph(network, order), example, inputs, outputs, OPSET_OF_ATTENTION)
        save(graph, temporary / WHOLE, {"model_type": "rnnlm", "sos_id": boundary})
        if isinstance(network, LSTMLanguageModel):
            first = tuple(part.transpose(0, 1).contiguous() for part in lstm_state(network.lstm, 2))
            state = {1: "N"}
            graph = trace(
                StepGraph(network, order), (example[0][:, :1], *first), {"x": {0: "N"}, "h0": state, "c0": state},
                {"log_softmax": {0: "N"}, "next_h0": state, "next_c0": state},
            )  # fmt: skip
            sizes = {"num_layers": network.lstm.num_layers, "hidden_size": network.lstm.hidden_size}
            save(graph, temporary / STEP, {"model_type": "rnnlm", "version": "1", "sos_id": boundary, **sizes})
        shutil.copyfile(trained.tokenizer.model_path, temporary / "bpe.model")
        return check_language_model(temporary, network, order)


@torch.no_grad()
def check_language_model(folder: Path, network: LanguageModel, order: list[int]) -> float:
    """The largest difference between the graphs and the network; `UserError` where it is large."""
    worst, generator = 0.0, torch.Generator().manual_seed(1)
    order_V = torch.tensor(order)
    whole = open_session(folder / WHOLE)
    for lengths in LENGTHS:
        y_NU = torch.randint(network.vocab_size, (len(lengths), max(lengths)), generator=generator)
        y_len_N = torch.tensor(lengths)
        wanted_N = -network.token_scores(order_V[y_NU], y_len_N).sum(dim=1)
        worst = max(worst, compare_outputs(WHOLE, run(whole, y_NU, y_len_N)[0], wanted_N, TOLERANCES["fp32"]))
    if isinstance(network, LSTMLanguageModel):
        step = open_session(folder / STEP)
        y_NU = torch.randint(network.vocab_size, (3, 9), generator=generator)
        logp_NUV = network(order_V[y_NU]).log_softmax(dim=-1)[..., order_V]
        h, c = (part.transpose(0, 1).contiguous() for part in lstm_state(network.lstm, 3))
        before_NU = torch.cat([torch.full((3, 1), order.index(network.boundary_id)), y_NU], dim=1)
        for u in range(10):
            logp_N1V, *after = run(step, before_NU[:, u : u + 1], h, c)
            h, c = map(torch.from_numpy, after)
            worst = max(worst, compare_outputs(STEP, logp_N1V[:, 0], logp_NUV[:, u], TOLERANCES["fp32"]))
    return worst
