"""From a module to an ONNX graph."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rnnt.errors import UserError

OPSET = 13  # what icefall writes: runtimes of several years read it
IR_VERSION = 8

Axes = dict[int, str]  # the axes of any length, by name


def need_onnx() -> None:
    """Raise UserError unless the packages of the export are installed."""
    for name in ("onnx", "onnxruntime"):
        try:
            __import__(name)
        except ImportError:
            raise UserError(f"--format onnx needs {name}: pip install 'rnnt[onnx]'") from None


def trace(
    module: nn.Module,
    example: tuple[Tensor, ...],
    inputs: Mapping[str, Axes],
    outputs: Mapping[str, Axes],
    opset: int = OPSET,
) -> Any:
    """The `onnx.ModelProto` of a module.

    Args:
        module: in evaluation mode.
        example: its inputs.
        inputs: their names and free axes, in order.
        outputs: the same of the outputs.
        opset: version of the operators.
    """
    import onnx

    buffer: Any = io.BytesIO()
    free = {name: axes for name, axes in {**inputs, **outputs}.items() if axes}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what tracing can't see; `check` runs other lengths and batches
        torch.onnx.export(
            module.eval(), example, buffer, opset_version=opset, dynamo=False, input_names=list(inputs),
            output_names=list(outputs), dynamic_axes=free,
        )  # fmt: skip
    model = onnx.load_from_string(buffer.getvalue())
    model.ir_version = IR_VERSION
    return model


def save(model: Any, path: Path, metadata: Mapping[str, int | str | Sequence[int]]) -> None:
    """Write a graph with metadata, of which lists become numbers with commas."""
    import onnx

    del model.metadata_props[:]
    for name, value in metadata.items():
        text = str(value) if isinstance(value, (int, str)) else ",".join(map(str, value))
        model.metadata_props.add(key=name, value=text)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
