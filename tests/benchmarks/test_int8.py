from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from benchmarks.int8 import quantize
from benchmarks.subjects import Subject
from service.contract import INPUT_NAME, OUTPUT_NAME, Contract


def convolution(path: Path, metadata: dict[str, str]) -> None:
    """Write the smallest network that has what quantisation is about: preprocessing, a convolution, a softmax."""
    rng = np.random.default_rng(0)
    weights = {
        "scale": np.array(1 / 255, np.float32),
        "kernel": rng.normal(0, 0.3, (8, 3, 7, 7)).astype(np.float32),
        "bias": rng.normal(0, 0.3, 8).astype(np.float32),
    }
    nodes = [
        helper.make_node("Cast", [INPUT_NAME], ["float"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"], "scale_pixels"),
        helper.make_node("Transpose", ["scaled"], ["planes"], "transpose", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "kernel", "bias"], ["conv"], "conv", strides=[4, 4]),
        helper.make_node("Relu", ["conv"], ["relu"], "relu"),
        helper.make_node("GlobalAveragePool", ["relu"], ["pool"], "pool"),
        helper.make_node("Flatten", ["pool"], ["flat"], "flatten"),
        helper.make_node("Softmax", ["flat"], [OUTPUT_NAME], "softmax"),
    ]
    graph = helper.make_graph(
        nodes,
        "convolution",
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["N", 64, 64, 3])],
        [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["N", 8])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, metadata)
    onnx.save(model, path)


def test_a_quantised_artefact_says_so_and_answers_about_the_same(toy: Subject, tmp_path: Path) -> None:
    metadata = {entry.key: entry.value for entry in onnx.load(toy.artefact).metadata_props}
    source, target = tmp_path / "float.onnx", tmp_path / "made" / "int8.onnx"
    convolution(source, metadata)
    images = np.random.default_rng(1).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    quantize(source, target, list(images), "small-int8")

    graph = onnx.load(target).graph
    assert any(tensor.data_type == TensorProto.INT8 for tensor in graph.initializer)
    # The preprocessing stays in float32, so nothing is quantised before it is done.
    assert [node.op_type for node in graph.node if INPUT_NAME in node.input] == ["Cast"]
    before, after = (ort.InferenceSession(path, providers=["CPUExecutionProvider"]) for path in (source, target))
    promise = Contract.from_metadata(after.get_modelmeta().custom_metadata_map)
    assert (promise.name, promise.precision, promise.certificate) == ("small-int8", "int8", None)
    rows = [session.run(None, {INPUT_NAME: images})[0] for session in (before, after)]
    np.testing.assert_allclose(rows[1], rows[0], atol=0.02)
