"""The ranges of what blocks add, cut off where a ReLU makes zero what is below."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from export.addends import addends, cut_addends
from export.images import Pixels, synthetic_images
from service.contract import INPUT_NAME, OUTPUT_NAME
from tests.export.conftest import SMALL, Graph

IMAGES = synthetic_images(4, SMALL.crop, seed=5)


def test_they_are_the_convolutions_that_are_added_to_something(resnet18: Graph) -> None:
    found = addends(resnet18.model)
    blocks = [f"layer{row}.{block}" for row in (1, 2, 3, 4) for block in (0, 1)]
    projections = [f"layer{row}.0.downsample.0" for row in (2, 3, 4)]
    assert found.keys() == {*(f"{block}.conv2" for block in blocks), *projections}
    assert found["layer2.0.conv2"] == "layer2.0.downsample.0"
    assert found["layer2.0.downsample.0"] == "layer2.0.conv2"


def test_below_zero_less_is_kept_and_nothing_else_changes(resnet18: Graph) -> None:
    ranges = dict.fromkeys([*addends(resnet18.model), "conv1"], (-100.0, 5.0))
    cut = cut_addends(resnet18.model, {"min-max": ranges}, IMAGES)["min-max"]
    assert cut.keys() == ranges.keys()
    assert cut.pop("conv1") == (-100, 5)
    assert all(lowest > -50 and highest == 5 for lowest, highest in cut.values())
    assert set(ranges.values()) == {(-100.0, 5.0)}


@pytest.mark.parametrize(("other", "lowest"), [(-0.5, -0.2), (0.4, -0.4), (1.0, -1.0)])
def test_it_begins_where_the_sum_turns_positive(other: float, lowest: float) -> None:
    """Nothing that `other` can lift above zero is lost: -0.4 is the least that counts where 0.4 is added to it."""
    cut = cut_addends(adds(other), {"min-max": {"own": (-1.0, 1.0)}}, ramp())["min-max"]
    assert cut["own"] == pytest.approx((lowest, 1.0), abs=0.15)  # its steps are tenths


def ramp() -> Pixels:
    """Every level from 0 to 255, (1, 16, 16, 3)."""
    return np.repeat(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1), 3, axis=3)


def adds(other: float) -> onnx.ModelProto:
    """A graph that spreads levels over -1 … 1, by a convolution, and adds a number to them."""
    weights = np.zeros((3, 3, 1, 1), np.float32)
    weights[range(3), range(3)] = 2 / 255
    constants = {"w": weights, "b": np.full(3, -1, np.float32), "c": np.full((1, 3, 1, 1), other, np.float32)}
    nodes = [
        helper.make_node("Cast", [INPUT_NAME], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "w", "b"], ["own"]),
        helper.make_node("Mul", ["own", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "c"], ["other"]),
        helper.make_node("Add", ["own", "other"], ["sum"]),
        helper.make_node("Relu", ["sum"], [OUTPUT_NAME]),
    ]
    constants["zero"] = np.zeros(1, np.float32)
    graph = helper.make_graph(
        nodes,
        "adds",
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["N", 16, 16, 3])],
        [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["N", 3, 16, 16])],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
