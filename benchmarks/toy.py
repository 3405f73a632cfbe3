"""A network that only averages an image's pixels and spreads the three means over the classes.

Its artefact carries a real contract, so the service serves it as any other; what a request then costs is the
service's overhead, decoding included.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from service.contract import INPUT_NAME, OUTPUT_NAME, UNTRAINED, Contract, Label, Preprocessing, Weights, hash_labels
from service.repository import FILE_NAME

NAME = "averages"
CLASSES = 1000
_CROP = 224
_OPSET, _IR_VERSION = 17, 9
_PREPROCESSING = Preprocessing(resize=256, crop=_CROP, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def write(artifacts: Path) -> Path:
    """Write the artefact into a model repository, as its version 1; return the file."""
    model = helper.make_model(
        _graph(), opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION, producer_name="benchmarks"
    )
    helper.set_model_props(model, _contract().to_metadata())
    onnx.checker.check_model(model, full_check=True)
    path = artifacts / NAME / "1" / FILE_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def _graph() -> onnx.GraphProto:
    spread = np.random.default_rng(0).normal(0, 0.01, (3, CLASSES)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", [INPUT_NAME], ["pixels"], to=TensorProto.FLOAT),  # (N, H, W, 3)
        # Whole rows are averaged first, in eight bands: a reduction over few channels is not vectorised, and one
        # over the first axis (which H is, in a batch of one) is slow.
        helper.make_node("Reshape", ["pixels", "as_bands"], ["bands"]),  # (N, 8, H/8, W·3)
        helper.make_node("ReduceMean", ["bands"], ["rows"], axes=[2], keepdims=0),  # (N, 8, W·3)
        helper.make_node("Reshape", ["rows", "as_pixels"], ["columns"]),  # (N, 8·W, 3)
        helper.make_node("ReduceMean", ["columns"], ["mean"], axes=[1], keepdims=0),  # (N, 3)
        helper.make_node("MatMul", ["mean", "spread"], ["logits"]),  # (N, classes)
        helper.make_node("Softmax", ["logits"], [OUTPUT_NAME], axis=1),
    ]
    constants = {
        "as_bands": np.array([0, 8, _CROP // 8, _CROP * 3]),
        "as_pixels": np.array([0, 8 * _CROP, 3]),
        "spread": spread,
    }
    return helper.make_graph(
        nodes,
        NAME,
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["N", _CROP, _CROP, 3])],
        [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["N", CLASSES])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )


def _contract() -> Contract:
    labels = tuple(Label(label=f"class {number}") for number in range(CLASSES))
    return Contract(
        name=NAME,
        architecture=NAME,
        weights=Weights(name=UNTRAINED),
        preprocessing=_PREPROCESSING,
        labels=labels,
        labels_sha256=hash_labels(labels),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
