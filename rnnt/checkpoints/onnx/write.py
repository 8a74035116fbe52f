"""Writes a folder of ONNX graphs that sherpa-onnx runs, and `rnnt.load_model` without torch."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rnnt.checkpoints.files import FORMAT
from rnnt.checkpoints.onnx.check import TOLERANCES, check_graphs
from rnnt.checkpoints.onnx.graphs import (
    CTCGraph,
    DecoderGraph,
    EncoderGraph,
    JoinerGraph,
    blank_first,
    without_projections,
)
from rnnt.checkpoints.onnx.readme import read_me
from rnnt.checkpoints.onnx.smaller import halve, quantize
from rnnt.checkpoints.onnx.streaming import has_streaming_ctc, windows_of, write_streaming_encoder
from rnnt.checkpoints.onnx.support import check_front_end, check_parts
from rnnt.checkpoints.onnx.tracing import need_onnx, save, trace
from rnnt.files import atomic_folder, file_sha256, refuse_existing, write_json
from rnnt.options import to_dict
from rnnt.text.tokenizer import BLANK

if TYPE_CHECKING:
    from rnnt.checkpoints.averaging import TrainedModel
    from rnnt.model.encoders.streaming import Windows
    from rnnt.model.transducer import Transducer
    from rnnt.text.tokenizer import Tokenizer

# sherpa-onnx calls any encoder with these inputs and outputs, whatever it is, where it finds this name in the metadata.
ENCODER_TYPE, CTC_TYPE = "zipformer2", "zipformer2_ctc"
EXAMPLE = (50, 31)  # frames of the batch that is traced

FEATURES = {"x": {0: "N", 1: "T"}, "x_lens": {0: "N"}}


def write_onnx(
    folder: str | Path,
    trained: TrainedModel,
    versions: dict[str, str | None],
    precision: str = "fp32",
    check: Callable[[Path], None] | None = None,
    chunks: tuple[int, int] | None = None,
) -> float:
    """Write the folder, completely or not at all; its graphs were compared with the network.

    Args:
        folder: must not exist.
        trained: the model.
        versions: {package: version} of what wrote the folder.
        precision: of the weights: fp32, fp16 or int8.
        chunks: for a streaming encoder: frames of 20 ms in a piece, and before it that a causal Zipformer sees.
        check: gets the complete folder before it is put in its place; it raises UserError to refuse it.

    Returns:
        The largest difference between onnxruntime and PyTorch, relative to the largest number.

    Raises:
        UserError: sherpa-onnx can't run such a model, a package is missing, or a graph differs from the network.
    """
    folder = Path(folder)
    refuse_existing(folder)
    need_onnx()
    check_front_end(trained.features)
    check_parts(trained)
    network, windows = trained.network, None
    if chunks:
        network = copy.deepcopy(network)
        windows = windows_of(network, *chunks)
    with atomic_folder(folder) as temporary:
        write_graphs(temporary, without_projections(network), windows)
        difference = check_graphs(temporary, network, TOLERANCES["fp32"], windows)
        if precision != "fp32":
            for path in temporary.glob("*.onnx"):
                (quantize if precision == "int8" else halve)(path)
            difference = check_graphs(temporary, network, TOLERANCES[precision], windows)
        write_tokens(temporary, trained.tokenizer)
        description = {**describe(trained, temporary, versions), "precision": precision, "streaming": bool(windows)}
        write_json(temporary / "config.json", description)
        (temporary / "README.md").write_text(read_me(description), encoding="utf-8")
        if check is not None:
            check(temporary)
    return difference


def write_graphs(folder: Path, network: Transducer, windows: Windows | None = None) -> None:
    """encoder.onnx, decoder.onnx and joiner.onnx of a network with predictor and joiner, ctc.onnx of a CTC head.

    With windows the encoder and the CTC layer's graph have a state.
    """
    x_BTF = torch.randn(len(EXAMPLE), max(EXAMPLE), network.config.num_features)
    batch = x_BTF, torch.tensor(EXAMPLE)
    if network.predictor is not None:
        if windows:
            write_streaming_encoder(folder / "encoder.onnx", network, windows)
        else:
            outputs = {"encoder_out": {0: "N", 1: "U"}, "encoder_out_lens": {0: "N"}}
            encoder = trace(EncoderGraph(network), batch, FEATURES, outputs)
            save(encoder, folder / "encoder.onnx", {"model_type": ENCODER_TYPE, "comment": network.config.encoder.name})
        graph = DecoderGraph(network)
        y_BC = torch.cat([torch.full((2, graph.context_size - 1), -1), torch.zeros(2, 1, dtype=torch.int64)], dim=1)
        y_BC[1, -2:] = 1
        decoder = trace(graph, (y_BC,), {"y": {0: "N"}}, {"decoder_out": {0: "N"}})
        sizes = {"context_size": graph.context_size, "vocab_size": network.vocab_size}
        save(decoder, folder / "decoder.onnx", sizes)
        dim: int = network.joiner.output.in_features
        inputs = {"encoder_out": {0: "N"}, "decoder_out": {0: "N"}}
        joiner = trace(JoinerGraph(network), (torch.randn(2, dim), torch.randn(2, dim)), inputs, {"logit": {0: "N"}})
        save(joiner, folder / "joiner.onnx", {"joiner_dim": dim})
    if windows and has_streaming_ctc(network):
        write_streaming_encoder(folder / "ctc.onnx", network, windows, ctc=True)
    elif "ctc" in network.heads and not windows:
        outputs = {"log_probs": {0: "N", 1: "U"}, "log_probs_lens": {0: "N"}}
        save(trace(CTCGraph(network), batch, FEATURES, outputs), folder / "ctc.onnx", {"model_type": CTC_TYPE})


def write_tokens(folder: Path, tokenizer: Tokenizer) -> None:
    """tokens.txt with blank as 0, and the SentencePiece model with its list of pieces and scores for hotwords."""
    order = blank_first(tokenizer.vocab_size, tokenizer.blank_id)
    names = [BLANK, *(tokenizer.tokens[i] for i in order[1:])]
    lines = [f"{token} {i}\n" for i, token in enumerate(names)]
    (folder / "tokens.txt").write_text("".join(lines), encoding="utf-8")
    pieces = [f"{piece}\t{score:g}\n" for piece, score in tokenizer.pieces()]
    (folder / "bpe.vocab").write_text("".join(pieces), encoding="utf-8")
    shutil.copyfile(tokenizer.model_path, folder / "bpe.model")


def describe(trained: TrainedModel, folder: Path, versions: dict[str, str | None]) -> dict[str, Any]:
    """What config.json says."""
    network, features = trained.network, trained.features
    predictor = [network.config.predictor.name] if network.predictor else []
    heads = [name for name in network.heads if name == "ctc"]
    return {
        "format": FORMAT,
        "runtime": "onnx",
        "sha256": {path.name: file_sha256(path) for path in sorted(folder.iterdir())},
        "selection": trained.name,
        "kind": " + ".join([network.config.encoder.name, *predictor, *heads]),
        "blank_id": network.blank_id,
        "model": to_dict(network.config),
        "parameters": sum(p.numel() for p in network.parameters()),
        "features": to_dict(features),
        "subsampling_factor": network.subsampling_factor,
        "frame_seconds": round(features.frame_shift * network.subsampling_factor, 6),
        "versions": versions,
    }
