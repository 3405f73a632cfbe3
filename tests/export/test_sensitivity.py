"""Which parts are left in float32: those that gain more than they cost, within what int8 is for."""

from __future__ import annotations

import onnx
import pytest

from export.sensitivity import Part, parts, worth_leaving
from export.to_onnx import to_onnx
from tests.export.conftest import FULL, Graph, unsettled_vgg


def part(name: str, multiply_adds: float = 0.02, parameters: float = 0.005) -> Part:
    return Part(name, (name,), multiply_adds, parameters)


def test_a_residual_net_has_its_blocks_and_what_comes_before_them(resnet18: Graph) -> None:
    found = parts(onnx.shape_inference.infer_shapes(resnet18.model))
    assert [each.name for each in found] == [
        "stem",
        *(f"layer{row}.{block}" for row in range(1, 5) for block in (0, 1)),
    ]
    assert found[0].nodes == ("conv1", "relu", "maxpool")
    assert "layer2.0.downsample.0" in found[3].nodes
    # All but the last layer, which is no part of any.
    assert sum(each.multiply_adds for each in found) == pytest.approx(1, abs=1e-3)
    assert 0.999 < sum(each.parameters for each in found) < 1


@pytest.mark.slow  # exports a VGG
def test_a_net_without_blocks_has_no_parts() -> None:
    assert parts(onnx.shape_inference.infer_shapes(to_onnx(unsettled_vgg(batch_norm=False), FULL))) == []


def test_what_gains_more_than_it_costs_stays_and_the_rest_does_not() -> None:
    candidates = [part("dear"), part("dull"), part("good")]
    gains = {"dear": 0.15, "dull": 0.0, "good": 0.3}  # a part of 2% takes 16% more time

    def divergence(left: list[Part]) -> float:
        return 1 - sum(gains[each.name] for each in left)

    assert [each.name for each in worth_leaving(candidates, divergence)] == ["good"]
    assert worth_leaving([], divergence) == []


def test_together_they_keep_to_the_size_and_the_speed() -> None:
    candidates = [part(f"{number}") for number in range(9)] + [part("slow", 0.2), part("large", 0.01, 0.1)]

    def divergence(left: list[Part]) -> float:
        return 1 - sum(0.5 if each.name in ("slow", "large") else 0.4 + 0.01 * int(each.name) for each in left) / 2

    kept = worth_leaving(candidates, divergence)
    assert [each.name for each in kept] == ["8", "7"]  # a third would be more than a twentieth of the multiply-adds


def test_what_helps_alone_and_harms_together_is_not_left_together() -> None:
    def divergence(left: list[Part]) -> float:
        return (1.0, 0.5, 2.0)[len(left)]

    assert [each.name for each in worth_leaving([part("a"), part("b")], divergence)] == ["a"]
