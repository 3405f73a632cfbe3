"""The golden images of an artefact: clear, of different classes, and answered by the service's engine as promised."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from export.golden import TOLERANCES, choose
from export.graph import initializers, probabilities
from service.contract import Golden
from service.engine.cpu import CpuEngine
from service.golden import examine, image_of
from service.repository import find
from tests.export.conftest import SMALL, Graph


def asked(golden: tuple[Golden, ...]) -> NDArray[np.uint8]:
    return np.stack([image_of(one, SMALL.crop) for one in golden])


def test_they_are_of_different_classes_and_each_is_far_ahead_of_the_next(resnet18: Graph) -> None:
    golden = choose(resnet18.model, resnet18.network, SMALL, "fp32")
    assert len({one.top1 for one in golden}) == len(golden) == 2
    for one, row in zip(golden, probabilities(resnet18.model, asked(golden)), strict=True):
        second, first = np.sort(row)[-2:]
        assert row.argmax() == one.top1
        assert first == pytest.approx(one.probability, rel=1e-6)
        assert one.tolerance == pytest.approx(TOLERANCES["fp32"] * one.probability)
        assert first - second > 2 * one.tolerance


def test_a_network_that_sets_nothing_apart_has_none(resnet18: Graph) -> None:
    network, model = copy.deepcopy(resnet18.network), copy.deepcopy(resnet18.model)
    for name in ("fc.weight", "fc.bias"):
        torch.nn.init.zeros_(network.get_parameter(name))
        tensor = initializers(model)[name]
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros(tensor.dims, np.float32), name))
    assert choose(model, network, SMALL, "fp32") == ()


def test_only_images_on_which_pytorch_agrees_are_taken(resnet18: Graph) -> None:
    class Reversed(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rows: torch.Tensor = -resnet18.network(x)
            return rows

    assert choose(resnet18.model, Reversed().eval(), SMALL, "fp32") == ()


def test_an_engine_with_another_order_of_channels_is_found_out(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = CpuEngine(find(trained, "resnet18").path)
    right = examine(engine)
    assert len(right.answers) == 2
    assert right.fault is None
    infer = engine.infer
    monkeypatch.setattr(engine, "infer", lambda images, wide: infer([image[..., ::-1] for image in images], wide=wide))
    wrong = examine(engine)
    assert wrong.fault is not None
