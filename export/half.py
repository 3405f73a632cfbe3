"""Float32 to float16: half the size and, on GPUs with tensor cores, a multiple of the speed.

ONNX Runtime's own converter does it, to what is between the preprocessing and the softmax: those stay in float32, and
so does the average over a map, the one sum of many numbers outside the layers. Within layers a GPU adds up products
of float16 in float32 itself. The graph's input and output are as they were.
"""

from __future__ import annotations

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from export.graph import layers

_SUMS = ["AveragePool", "GlobalAveragePool"]
_LEAST, _MOST = 5.97e-8, 65504.0  # float16's smallest and largest: what is beyond becomes that


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy with its layers in float16.

    Args:
        model: Float32, as `export.to_onnx` makes it.
    """
    copied = onnx.shape_inference.infer_shapes(model)
    nodes = list(copied.graph.node)
    names = [node.name for node in nodes]
    start, end = names.index(layers(copied)[0].name), len(nodes) - 1
    before, within, after = nodes[:start], nodes[start:end], nodes[end:]
    extractor = onnx.utils.Extractor(copied)
    network = extractor.extract_model([within[0].input[0]], [within[-1].output[0]])
    half = convert_float_to_float16(
        network, keep_io_types=True, op_block_list=_SUMS, min_positive_val=_LEAST, max_finite_val=_MOST
    )
    OnnxModel(half).topological_sort()  # the converter appends the casts that it adds
    return _with_nodes(copied, [*before, *half.graph.node, *after], [*half.graph.initializer])


def _with_nodes(
    model: onnx.ModelProto, nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]
) -> onnx.ModelProto:
    """Return a copy of other nodes, and with other constants where they bear the same names."""
    read = {name for node in nodes for name in node.input}
    replaced = {tensor.name for tensor in constants}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read - replaced]
    graph = onnx.helper.make_graph(nodes, model.graph.name, model.graph.input, model.graph.output, [*kept, *constants])
    changed = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    onnx.checker.check_model(changed, full_check=True)
    return changed
