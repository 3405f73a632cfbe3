"""Give a graph's nodes and initializers the names of the network's layers.

PyTorch's exporter numbers its nodes (`node_Conv_338`). Whoever inspects an artefact, or picks layers to keep in
float, wants `layer1.0.conv1`. The exporter's notes on where each node came from are read, then dropped: they
hold paths of the machine it ran on.
"""

from __future__ import annotations

import ast
from collections import Counter

import onnx_ir

_SCOPES = "pkg.torch.onnx.name_scopes"  # ['', 'network', 'network.layer1', …, 'relu_2']: modules, then the op
_CLASSES = "pkg.torch.onnx.class_hierarchy"  # the classes of the same


def name_after_layers(model: onnx_ir.Model, prefix: str) -> None:
    """Rename in place, and drop all metadata.

    - A node with weights bears its layer's name, and its initializers that name with `.weight` and `.bias`.
    - Any other PyTorch layer lends its name too: `maxpool`.
    - What a block computes itself is named after both: `layer1.0.add`, `layer1.0.relu`, `layer1.0.relu_1`.

    Values are named after the node that gives them; the graph's inputs and outputs keep their names.

    Args:
        model: As `torch.onnx.export` returns it.
        prefix: What to strip from the names of modules.
    """
    taken: Counter[str] = Counter()
    outputs = set(model.graph.outputs)
    for node in model.graph:
        layer = _layer_of_weights(node) or _layer_of_scope(node)
        name = layer.removeprefix(prefix)
        taken[name] += 1
        node.name = name if taken[name] == 1 else f"{name}_{taken[name] - 1}"
        _name_initializers(node)
        for value in node.outputs:
            if value not in outputs:
                value.name = node.name
    _drop_metadata(model)


def _layer_of_weights(node: onnx_ir.Node) -> str | None:
    for value in node.inputs:
        if value is not None and value.is_initializer() and (value.name or "").endswith(".weight"):
            return (value.name or "").removesuffix(".weight")
    return None


def _layer_of_scope(node: onnx_ir.Node) -> str:
    scopes = ast.literal_eval(node.metadata_props[_SCOPES])
    classes = ast.literal_eval(node.metadata_props[_CLASSES])
    # The op's own entry is last in both; the graph's root is in the scopes as '' and in the classes by name.
    module, module_class = scopes[-2], classes[-2]
    if module_class.startswith("torch.nn.") and "container" not in module_class:
        return str(module)
    return f"{module}.{node.op_type.lower()}".lstrip(".")


def _name_initializers(node: onnx_ir.Node) -> None:
    suffixes = ("input", "weight", "bias")
    for index, value in enumerate(node.inputs):
        if value is None or not value.is_initializer():
            continue
        convolves = node.op_type in ("Conv", "Gemm")
        # A constant that several nodes share is named after the first.
        if next(iter(value.uses())).node is node:
            value.name = f"{node.name}.{suffixes[index] if convolves else index}"


def _drop_metadata(model: onnx_ir.Model) -> None:
    values = [*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()]
    for node in model.graph:
        values.extend(node.outputs)
        node.metadata_props.clear()
        node.doc_string = None
    for value in values:
        value.metadata_props.clear()
        value.doc_string = None
    model.graph.metadata_props.clear()
    model.metadata_props.clear()
