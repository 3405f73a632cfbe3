"""What is in an artefact's graph: its layers, what they weigh, and what they compute."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import onnx

from export.graph import initializers, ints, layers


@dataclass(frozen=True)
class Layer:
    """A convolution or fully connected layer.

    Attributes:
        name: As in the checkpoint: "layer1.0.conv1".
        kind: "conv 3x3", "conv 1x1/2" (with its stride) or "fc".
        output_shape: Without the batch: (C, H, W) or (C,).
        weights: "float32", "float16" or "int8".
        parameters: Weights and biases; BN is folded into them.
        size_bytes: That they take, with the scales of int8.
        multiply_adds: For one image: one for each weight and each position it is applied at.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    weights: str
    parameters: int
    size_bytes: int
    multiply_adds: int


def inspect(model: onnx.ModelProto) -> list[Layer]:
    """Return the layers of a graph in the order in which they run."""
    inferred = onnx.shape_inference.infer_shapes(model)
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*inferred.graph.value_info, *inferred.graph.output)
    }
    constants = initializers(model)
    makers = {output: node for node in model.graph.node for output in node.output}
    return [_layer(node, shapes, constants, makers) for node in layers(model)]


def operators(model: onnx.ModelProto) -> dict[str, int]:
    """Return how many nodes of each kind there are, the most frequent first."""
    return dict(Counter(node.op_type for node in model.graph.node).most_common())


def _layer(
    node: onnx.NodeProto,
    shapes: dict[str, list[int]],
    constants: dict[str, onnx.TensorProto],
    makers: dict[str, onnx.NodeProto],
) -> Layer:
    tensors = [_constants(name, constants, makers) for name in node.input[1:]]
    values = [found[0] for found in tensors if found]  # the weight and the bias, without scales
    weight = values[0]
    output = tuple(shapes[node.output[0]][1:])
    per_output = int(np.prod(weight.dims[1:])) if node.op_type == "Conv" else int(np.prod(weight.dims)) // output[0]
    return Layer(
        name=node.name,
        kind=_kind(node, weight),
        output_shape=output,
        weights=str(onnx.helper.tensor_dtype_to_np_dtype(weight.data_type)),
        parameters=sum(int(np.prod(tensor.dims)) for tensor in values),
        size_bytes=sum(len(onnx.numpy_helper.to_array(tensor).tobytes()) for found in tensors for tensor in found),
        multiply_adds=int(np.prod(output)) * per_output,
    )


def _constants(
    name: str, constants: dict[str, onnx.TensorProto], makers: dict[str, onnx.NodeProto]
) -> list[onnx.TensorProto]:
    """Return the constants that a value is made of, the value itself before its scales."""
    if name in constants:
        return [constants[name]]
    maker = makers.get(name)
    if maker is None or maker.op_type not in ("DequantizeLinear", "Cast"):
        return []
    return [tensor for each in maker.input for tensor in _constants(each, constants, makers)]


def _kind(node: onnx.NodeProto, weight: onnx.TensorProto) -> str:
    if node.op_type == "Gemm":
        return "fc"
    stride = ints(node, "strides", (1, 1))[0]
    return f"conv {weight.dims[2]}x{weight.dims[3]}" + (f"/{stride}" if stride > 1 else "")
