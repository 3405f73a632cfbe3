"""The preprocessing of an int8 graph computes what the exporter's does."""

from __future__ import annotations

import numpy as np
import onnx

from export.graph import initializers, probabilities
from export.images import synthetic_images
from export.stem import fold_preprocessing
from tests.export.conftest import SMALL, Graph


def test_rows_of_pixels_less_their_mean_and_a_factor_in_the_first_layer_are_the_same(resnet18: Graph) -> None:
    folded = onnx.ModelProto()
    folded.CopyFrom(resnet18.model)
    fold_preprocessing(folded)
    assert [node.op_type for node in folded.graph.node[:4]] == ["Cast", "Sub", "Transpose", "Conv"]
    assert len(folded.graph.node) == len(resnet18.model.graph.node) - 1
    (mean,) = (tensor for tensor in initializers(folded).values() if list(tensor.dims) == [SMALL.crop, 3])
    assert mean.name.startswith("preprocess.")
    images = synthetic_images(8, SMALL.crop, seed=6)
    assert np.abs(probabilities(folded, images) - probabilities(resnet18.model, images)).max() < 1e-5


def test_a_graph_that_begins_otherwise_is_left_alone(resnet18: Graph) -> None:
    once = onnx.ModelProto()
    once.CopyFrom(resnet18.model)
    fold_preprocessing(once)
    before = once.SerializeToString()
    fold_preprocessing(once)
    assert once.SerializeToString() == before
