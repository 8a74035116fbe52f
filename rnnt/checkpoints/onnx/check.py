"""Compares graphs in onnxruntime with the network in PyTorch, over several lengths and batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnt.checkpoints.onnx.graphs import blank_first, without_projections
from rnnt.checkpoints.onnx.streaming import StreamingGraph, make_graph
from rnnt.errors import UserError
from rnnt.model.encoders.streaming import Windows
from rnnt.model.transducer import Transducer

# Of the largest number, or of 1: how far a graph may be from the network. Layers of 8 bits add up.
TOLERANCES = {"fp32": 1e-4, "fp16": 2e-2, "int8": 0.5}
LENGTHS: tuple[tuple[int, ...], ...] = ((9,), (16,), (41,), (150,), (97, 60, 9), (64, 64, 23, 40))
TOKENS = 12  # that the predictor reads one after the other


def open_session(path: Path, threads: int = 1) -> Any:
    """A session of onnxruntime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(session: Any, *inputs: Tensor) -> list[np.ndarray]:
    """The outputs of a graph for its inputs in order."""
    names = [one.name for one in session.get_inputs()]
    found: list[np.ndarray] = session.run(None, dict(zip(names, (one.numpy() for one in inputs))))
    return found


def run_windows(session: Any, x_BTF: Tensor, graph: StreamingGraph, windows: Windows) -> np.ndarray:
    """The outputs (B, T', J) of a streaming encoder for all windows that the features hold."""
    names, state = [one.name for one in session.get_inputs()], [s.numpy() for s in graph.first_state(len(x_BTF))]
    outputs = []
    for begin in range(0, x_BTF.shape[1] - windows.size + 1, windows.shift):
        window = x_BTF[:, begin : begin + windows.size].numpy()
        found, *state = session.run(None, dict(zip(names, [window, *state])))
        outputs.append(found)
    return np.concatenate(outputs, axis=1)


def compare_outputs(name: str, found: np.ndarray, wanted: Tensor, tolerance: float) -> float:
    """The largest difference of an output, relative to its largest number; `UserError` above the tolerance."""
    reference = wanted.numpy()
    if found.shape != reference.shape:
        problem = f"shape {found.shape} in onnxruntime, {reference.shape} in PyTorch"
        raise UserError(f"{name}: {problem}; nothing is kept")
    scale = max(float(np.abs(reference).max(initial=0.0)), 1.0)
    difference = float(np.abs(found - reference).max(initial=0.0)) / scale
    if not difference <= tolerance:
        problem = f"onnxruntime differs from PyTorch by {difference:.2g}, {tolerance:g} is allowed"
        raise UserError(f"{name}: {problem}; nothing is kept")
    return difference


@torch.no_grad()
def check_graphs(folder: Path, network: Transducer, tolerance: float, windows: Windows | None = None) -> float:
    """The largest difference between the graphs in `folder` and the network, relative to the largest number.

    Args:
        folder: with encoder.onnx, decoder.onnx and joiner.onnx, or ctc.onnx, or all four.
        network: in evaluation mode, in float32.
        tolerance: what the difference may be.
        windows: of a streaming encoder, which gives window by window what the network gives for the whole.

    Raises:
        UserError: it is larger somewhere.
    """
    worst = 0.0
    generator = torch.Generator().manual_seed(1)
    order_V = torch.tensor(blank_first(network.vocab_size, network.blank_id))

    def compare(name: str, found: np.ndarray, wanted: Tensor) -> None:
        nonlocal worst
        worst = max(worst, compare_outputs(name, found, wanted, tolerance))

    def wanted_of(name: str, h_BTD: Tensor) -> Tensor:
        if name == "encoder.onnx":
            return network.joiner.project_encoder(h_BTD)
        return network.heads["ctc"].log_probs(h_BTD)[..., order_V]  # type: ignore[operator,no-any-return]

    graphs = [name for name in ("encoder.onnx", "ctc.onnx") if (folder / name).is_file()]
    for name in [] if windows else graphs:
        session = open_session(folder / name)
        for lengths in LENGTHS:
            noise_BTF = torch.randn(len(lengths), max(lengths), network.config.num_features, generator=generator)
            x_BTF, x_len_B = noise_BTF * network.feature_std + network.feature_mean, torch.tensor(lengths)
            h_BTD, len_B = network.encode(x_BTF, x_len_B)
            found, found_len_B = run(session, x_BTF, x_len_B)
            compare(f"{name}, lengths of {lengths} frames", found_len_B, len_B)
            compare(f"{name}, {lengths} frames", found, wanted_of(name, h_BTD))

    if windows:
        frames = windows.size + 4 * windows.shift
        noise_BTF = torch.randn(3, frames, network.config.num_features, generator=generator)
        x_BTF = noise_BTF * network.feature_std + network.feature_mean
        h_BTD, _ = network.encode(x_BTF, torch.full((3,), frames))
        for name in graphs:
            graph = make_graph(without_projections(network), windows, ctc=name == "ctc.onnx")
            found = run_windows(open_session(folder / name), x_BTF, graph, windows)
            compare(name, found, wanted_of(name, h_BTD)[:, : found.shape[1]])

    if network.predictor is not None:
        decoder, joiner = open_session(folder / "decoder.onnx"), open_session(folder / "joiner.onnx")
        B, context = 3, int(decoder.get_modelmeta().custom_metadata_map["context_size"])
        y_BC = torch.cat([torch.full((B, context - 1), -1), torch.zeros(B, 1, dtype=torch.int64)], dim=1)
        state, token_B = network.predictor.initial_state(B), network.predictor.start(B)
        for _ in range(TOKENS):
            g_BD, state = network.predictor.step(token_B, state)
            p_BJ = network.joiner.project_predictor(g_BD)
            compare("decoder.onnx", run(decoder, y_BC)[0], p_BJ)
            e_BJ = torch.randn(p_BJ.shape, generator=generator)
            logits_BV = network.joiner.logits(e_BJ, p_BJ)
            compare("joiner.onnx", run(joiner, e_BJ, p_BJ)[0], logits_BV[:, order_V])
            y_B = torch.randint(1, network.vocab_size, (B,), generator=generator)
            token_B, y_BC = order_V[y_B], torch.cat([y_BC[:, 1:], y_B[:, None]], dim=1)
    return worst
