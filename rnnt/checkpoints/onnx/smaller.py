"""Graphs of a quarter or half the size: weights in 8 bits, or in half precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# What is quantised: matrix products, LSTM layers and embeddings with their stored weights.
QUANTIZED = ("MatMul", "LSTM", "Gather")
SMALLEST = 1024  # numbers of a tensor that is worth a conversion


def quantize(path: Path) -> None:
    """Make the weights of a graph 8-bit integers, with a scale per column; activations are quantised as they come.

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
    onnx.save(model, str(path))


def halve(path: Path) -> None:
    """Store the weights of a graph in half precision. They are computed with in single precision, on any processor."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(str(path))
    casts: list[Any] = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < SMALLEST:
            continue
        values = numpy_helper.to_array(tensor)
        if np.abs(values).max() > np.finfo(np.float16).max:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    for node in reversed(casts):
        model.graph.node.insert(0, node)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
