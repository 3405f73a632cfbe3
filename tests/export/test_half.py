"""Float16, on a network with random weights and on real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from export.graph import probabilities
from export.half import to_fp16
from export.images import synthetic_images
from export.precision import FP16_TOLERANCE
from service.repository import find
from tests.export.conftest import SMALL, Graph, session
from tests.export.test_trained import photos


@pytest.fixture(scope="module")
def half(resnet18: Graph) -> onnx.ModelProto:
    return to_fp16(resnet18.model)


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    """Return the element type of every value, by name."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = [*inferred.input, *inferred.value_info, *inferred.output]
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {tensor.name: tensor.data_type for tensor in model.graph.initializer}


def test_layers_are_float16_and_preprocessing_sums_and_softmax_float32(half: onnx.ModelProto) -> None:
    types, kinds = types_of(half), {"Conv", "Gemm", "Add", "Relu", "MaxPool"}
    for node in half.graph.node:
        if node.op_type in kinds:
            assert {types[name] for name in [*node.input, *node.output]} == {onnx.TensorProto.FLOAT16}, node.name
        if node.op_type in {"Sub", "Mul", "GlobalAveragePool", "Softmax"}:
            assert {types[name] for name in [*node.input, *node.output]} == {onnx.TensorProto.FLOAT}, node.name


def test_nothing_is_rounded_on_the_way_into_the_first_layer_but_once_nor_out_of_the_softmax(
    half: onnx.ModelProto,
) -> None:
    kinds = [node.op_type for node in half.graph.node]
    assert kinds[:6] == ["Transpose", "Cast", "Sub", "Mul", "Cast", "Conv"]
    assert kinds[-3:] == ["Gemm", "Cast", "Softmax"]


def test_the_file_is_half_and_its_input_and_output_are_unchanged(resnet18: Graph, half: onnx.ModelProto) -> None:
    assert half.ByteSize() == pytest.approx(resnet18.model.ByteSize() / 2, rel=0.01)
    before, after = session(resnet18.serialized), session(half.SerializeToString())
    assert (after.get_inputs()[0].name, after.get_inputs()[0].type) == ("image", "tensor(uint8)")
    assert after.get_inputs()[0].shape == before.get_inputs()[0].shape
    assert after.get_outputs()[0].type == "tensor(float)"


def test_the_answers_are_within_the_tolerance(resnet18: Graph, half: onnx.ModelProto) -> None:
    images = synthetic_images(16, SMALL.crop, seed=6)
    difference = np.abs(probabilities(half, images) - probabilities(resnet18.model, images)).max()
    assert 0 < difference < FP16_TOLERANCE


@pytest.mark.slow  # two seconds and four; the layers are looked at above
@pytest.mark.parametrize("architecture", ["resnet18", "resnet50"])
def test_real_networks_answer_photos_within_the_tolerance(architecture: str, trained: Path, shared: Path) -> None:
    model = onnx.load(find(trained, architecture).path)
    images, _ = photos(shared, every=10)
    want, got = probabilities(model, images), probabilities(to_fp16(model), images)
    assert np.abs(want - got).max() < FP16_TOLERANCE
