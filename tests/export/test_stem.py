"""The preprocessing of an int8 graph computes what the exporter's does."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from export.graph import initializers, probabilities, replace
from export.images import Pixels, synthetic_images
from export.stem import fold_preprocessing
from tests.export.conftest import SMALL, Graph

IMAGES = synthetic_images(8, SMALL.crop, seed=6)
MEAN = "preprocess.sub.1"


def copy_of(model: onnx.ModelProto) -> onnx.ModelProto:
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied


@pytest.mark.parametrize(
    ("mean", "tolerance"),
    [
        ((124, 116, 104), 1e-5),  # whole levels: the very same, around the image too
        (255 * np.array(SMALL.mean), 1e-3),  # ImageNet's: around it, within half a level
    ],
)
def test_a_whole_number_less_and_the_rest_in_the_first_layer_are_the_same(
    resnet18: Graph, mean: tuple[float, ...], tolerance: float
) -> None:
    plain = copy_of(resnet18.model)
    replace(plain, {MEAN: np.reshape(mean, (1, 3, 1, 1))})
    folded = copy_of(plain)
    fold_preprocessing(folded)
    kinds = [node.op_type for node in folded.graph.node[:9]]
    assert kinds == ["Transpose", "Split", "Pad", "Pad", "Pad", "Concat", "Cast", "Sub", "Conv"]
    assert onnx.numpy_helper.to_array(initializers(folded)[MEAN]) == round(float(np.mean(mean)))
    assert np.abs(probabilities(folded, IMAGES) - probabilities(plain, IMAGES)).max() < tolerance


@pytest.mark.parametrize("level", [0, 255])
def test_black_and_white_are_what_they_were(resnet18: Graph, level: int) -> None:
    folded = copy_of(resnet18.model)
    fold_preprocessing(folded)
    image: Pixels = np.full((1, SMALL.crop, SMALL.crop, 3), level, np.uint8)
    assert np.abs(probabilities(folded, image) - probabilities(resnet18.model, image)).max() < 1e-3


def test_a_graph_that_begins_otherwise_is_left_alone(resnet18: Graph) -> None:
    once = copy_of(resnet18.model)
    fold_preprocessing(once)
    before = once.SerializeToString()
    fold_preprocessing(once)
    assert once.SerializeToString() == before
