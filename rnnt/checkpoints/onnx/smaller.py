"""Graphs of a quarter or half the size: weights in 8 bits, or in half precision."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

# What is quantised: matrix products, LSTM layers and embeddings with their stored weights.
QUANTIZED = ("MatMul", "LSTM", "Gather")
SMALLEST = 1024  # numbers of a tensor that is worth a conversion

# Name, values and the operator that reads them -> the node that makes them from the arrays that are stored, by name.
Convert = Callable[[str, np.ndarray, str], tuple[Any, dict[str, np.ndarray]]]


def quantize(path: Path) -> None:
    """Make the weights of a graph 8-bit integers, with a scale per column; activations are quantised as they come.

    Other large weights, of convolutions above all, are only stored so: onnxruntime multiplies them as quickly in single
    precision.

    Weights take 7 of the 8 bits: processors without VNNI instructions add products of a pair of numbers in 16 bits,
    which overflow with all 8 (onnxruntime's documentation on quantisation, "reduce_range").
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(str(path))
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    # Products of several matrices at once, of grouped convolutions, have no kernel with scales per column.
    stacks = [n.name for n in model.graph.node if n.op_type == "MatMul" and len(shapes.get(n.input[1], (0, 0))) != 2]
    known = model.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")  # no advice is printed
    quantize_dynamic(
        model, str(path), op_types_to_quantize=list(QUANTIZED), weight_type=QuantType.QInt8, per_channel=True,
        reduce_range=True, nodes_to_exclude=stacks,
    )  # fmt: skip
    model = onnx.load(str(path))
    model.metadata_props.remove(known)
    _store(model, _as_bytes)
    onnx.save(model, str(path))


def halve(path: Path) -> None:
    """Store the weights of a graph in half precision. They are computed with in single precision, on any processor."""
    import onnx

    model = onnx.load(str(path))
    _store(model, _as_halves)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _store(model: Any, convert: Convert) -> None:
    """Store large tensors of single precision otherwise; nodes at the beginning of the graph make them again."""
    from onnx import TensorProto, numpy_helper

    graph = model.graph
    users = {name: node.op_type for node in graph.node for name in node.input}
    made: list[Any] = []
    for tensor in list(graph.initializer):
        if tensor.data_type != TensorProto.FLOAT or prod(tensor.dims) < SMALLEST:
            continue
        node, stored = convert(tensor.name, numpy_helper.to_array(tensor), users.get(tensor.name, ""))
        if node is not None:
            graph.initializer.remove(tensor)
            graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in stored.items())
            made.append(node)
    for node in reversed(made):
        graph.node.insert(0, node)


def _as_halves(name: str, values: np.ndarray, _user: str) -> tuple[Any, dict[str, np.ndarray]]:
    from onnx import TensorProto, helper

    if np.abs(values).max() > np.finfo(np.float16).max:
        return None, {}
    stored = {f"{name}.half": values.astype(np.float16)}
    return helper.make_node("Cast", [*stored], [name], to=TensorProto.FLOAT), stored


def _as_bytes(name: str, values: np.ndarray, user: str) -> tuple[Any, dict[str, np.ndarray]]:
    """8 bits with a scale per output: what is multiplied in single precision, as convolutions are."""
    from onnx import helper

    if values.ndim < 2:
        return None, {}
    axis = 0 if user == "Conv" else values.ndim - 1
    largest = np.abs(values).max(axis=tuple(i for i in range(values.ndim) if i != axis), keepdims=True)
    scale = np.where(largest > 0, largest, 1).astype(np.float32) / 127
    stored: dict[str, np.ndarray] = {
        f"{name}.int8": np.rint(values / scale).astype(np.int8),
        f"{name}.scale": scale.reshape(-1),
    }
    return helper.make_node("DequantizeLinear", [*stored], [name], axis=axis), stored
