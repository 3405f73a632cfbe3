"""Preprocessing that is exact, and next to free, beside convolutions in eight bits.

Pixels are eight bits already. Less the channels' means (103.5 to 123.7, ImageNet's) they span more than 255 levels, and
rounding them anew is what harms ResNet-18 most of all that int8 does to its activations. Less one whole number, the
same for all channels, they are what they were: the scale is 1, that number the zero point. What the channels' means
differ by from it goes into the first layer's bias, the factor 1/(255·std) into its weights; and since around the
image the layer is to see those means, they are put there beforehand, a plane at a time.

    image ─ Transpose ─ Cast ─ Sub ─ Mul ─ Conv
                  becomes
    image ─ Transpose ─ Split ─ Pad, Pad, Pad ─ Concat ─ Cast ─ Sub ─ Conv
                  and with the first layer in eight bits
    image ─ Transpose ─ Split ─ Pad, Pad, Pad ─ Concat ─ DequantizeLinear ─ Conv
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from export.graph import initializers, ints, layers, replace
from export.images import Pixels

_BEFORE = ["Transpose", "Cast", "Sub", "Mul"]
_PREFIX = "preprocess."


def fold_preprocessing(model: onnx.ModelProto) -> None:
    """Rewrite a graph's preprocessing in place; one that begins otherwise is left as it is.

    Args:
        model: Float32, as `export.to_onnx` makes it.
    """
    nodes = list(model.graph.node)
    if [node.op_type for node in nodes[:4]] != _BEFORE:
        return
    transpose, cast, sub, mul = nodes[:4]
    constants = {name: numpy_helper.to_array(tensor) for name, tensor in initializers(model).items()}
    mean, factor = constants[sub.input[1]].reshape(3), constants[mul.input[1]].reshape(1, 3, 1, 1)
    first = layers(model)[0]
    weights = constants[first.input[1]] * factor  # (out, 3, kernel, kernel)
    middle = np.rint(mean.mean())
    bias = constants[first.input[2]] + (weights * (middle - mean).reshape(1, 3, 1, 1)).sum(axis=(1, 2, 3))
    replace(model, {first.input[1]: weights, first.input[2]: bias, sub.input[1]: middle})
    model.graph.initializer.remove(initializers(model)[mul.input[1]])

    transpose.input[0], transpose.output[0] = model.graph.input[0].name, f"{_PREFIX}planes"
    surrounded = _surround(model, transpose.output[0], first, np.rint(mean).clip(0, 255).astype(np.uint8))
    cast.input[0], first.input[0] = surrounded[-1].output[0], sub.output[0]
    del model.graph.node[:]
    model.graph.node.extend([transpose, *surrounded, cast, sub, *nodes[4:]])
    del model.graph.value_info[:]  # the types of what was
    model.CopyFrom(onnx.shape_inference.infer_shapes(model))
    onnx.checker.check_model(model)


def take_bytes(model: onnx.ModelProto) -> None:
    """Let a quantised graph's first layer take the pixels' own bytes, in place; not where it stays in float32.

    Args:
        model: What the quantiser made of a graph whose preprocessing was folded.
    """
    by_input = {name: node for node in model.graph.node for name in node.input[:1]}
    cast = next((node for node in model.graph.node if node.op_type == "Cast"), None)
    chain = [cast] if cast is not None and cast.name.startswith(_PREFIX) else []
    while chain and len(chain) < 4:
        chain.append(by_input[chain[-1].output[0]])
    if [node.op_type for node in chain] != ["Cast", "Sub", "QuantizeLinear", "DequantizeLinear"]:
        return
    *unneeded, dequantize = chain
    dequantize.input[0] = unneeded[0].input[0]
    for node in unneeded:
        model.graph.node.remove(node)
    model.graph.initializer.remove(initializers(model)[unneeded[1].input[1]])


def _surround(model: onnx.ModelProto, planes: str, first: onnx.NodeProto, colour: Pixels) -> list[onnx.NodeProto]:
    """Return nodes that put a colour around the planes, and take the first layer's own zeros from it."""
    top, left, bottom, right = ints(first, "pads", (0, 0, 0, 0))
    others = [attribute for attribute in first.attribute if attribute.name != "pads"]
    del first.attribute[:]
    first.attribute.extend(others)
    widths = np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)
    constants = {f"{_PREFIX}widths": widths, f"{_PREFIX}split": np.ones(3, np.int64)}
    constants |= {f"{_PREFIX}colour.{c}": value for c, value in enumerate(colour)}
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items())
    apart, around = ([f"{_PREFIX}{word}.{c}" for c in range(3)] for word in ("plane", "padded"))
    return [
        helper.make_node("Split", [planes, f"{_PREFIX}split"], apart, f"{_PREFIX}split", axis=1),
        *(
            helper.make_node("Pad", [apart[c], f"{_PREFIX}widths", f"{_PREFIX}colour.{c}"], [around[c]], around[c])
            for c in range(3)
        ),
        helper.make_node("Concat", around, [f"{_PREFIX}surrounded"], f"{_PREFIX}surrounded", axis=1),
    ]
