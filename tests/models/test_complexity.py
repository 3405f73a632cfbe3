from __future__ import annotations

import pytest
import torch
from torch import nn

from models import zoo
from models.complexity import PUBLISHED, comparison, complexity, of_architecture, totals


@pytest.mark.parametrize(
    ("architecture", "parameters"),
    [
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
        ("resnet101", 44_549_160),
        ("resnet152", 60_192_808),
        ("vgg16", 138_357_544),
        ("vgg19", 143_667_240),
    ],
)
def test_parameters_are_the_published_ones(architecture: str, parameters: int) -> None:
    assert totals(of_architecture(architecture)).parameters == parameters


# He et al. 2015, Table 1, last row, in 10⁹. The paper prints one decimal, and 3.8 where the count is 3.858: so
# "equal" means within 0.06.
@pytest.mark.parametrize(
    ("architecture", "published"),
    [
        ("resnet18-a", 1.8),
        ("resnet18", 1.8),
        ("resnet34-a", 3.6),
        ("resnet50-v1", 3.8),
        ("resnet101-v1", 7.6),
        ("resnet152-v1", 11.3),
        ("plain18", 1.8),
        ("plain34", 3.6),
        ("vgg19", 19.6),
    ],
)
def test_multiply_adds_are_those_of_the_paper(architecture: str, published: float) -> None:
    assert totals(of_architecture(architecture)).multiply_adds / 1e9 == pytest.approx(published, abs=0.06)


# torchvision 0.29 publishes these as "_ops" of its weights (in 10⁹), with the stride on the 3×3.
@pytest.mark.parametrize(
    ("architecture", "published"),
    [
        ("resnet18", 1.814),
        ("resnet34", 3.664),
        ("resnet50", 4.089),
        ("resnet101", 7.801),
        ("resnet152", 11.514),
        ("vgg16", 15.47),
        ("vgg19", 19.632),
    ],
)
def test_multiply_adds_as_trained_are_those_of_torchvision(architecture: str, published: float) -> None:
    assert totals(of_architecture(architecture)).multiply_adds / 1e9 == pytest.approx(published, abs=0.0006)


def test_plain34_costs_exactly_what_resnet34_with_option_a_does() -> None:
    # Sec. 4.1: "they have no extra parameter compared to the plain counterparts".
    assert of_architecture("plain34") == of_architecture("resnet34-a")


def test_plain34_costs_18_per_cent_of_vgg19() -> None:
    # Sec. 3.3: "3.6 billion FLOPs (multiply-adds), which is only 18% of VGG-19 (19.6 billion FLOPs)".
    plain, vgg = (totals(of_architecture(name)).multiply_adds for name in ("plain34", "vgg19"))
    assert int(100 * plain / vgg) == 18


def test_resnet152_is_still_cheaper_than_vgg16() -> None:
    # Sec. 4.1: "still has lower complexity than VGG-16/19 nets (15.3/19.6 billion FLOPs)".
    costs = {name: totals(of_architecture(name)).multiply_adds for name in ("resnet152-v1", "vgg16", "vgg19")}
    assert costs["resnet152-v1"] < costs["vgg16"] < costs["vgg19"]


def test_options_b_and_c_cost_more_parameters_in_that_order() -> None:
    a, b, c = (totals(of_architecture(name)).parameters for name in ("resnet34-a", "resnet34", "resnet34-c"))
    assert a < b < c


def test_layers_come_in_order_with_their_shapes_and_costs() -> None:
    costs = of_architecture("resnet50")
    first, last = costs[0], costs[-1]
    assert (first.name, first.kind, first.output_shape) == ("conv1", "conv 7x7/2", (64, 112, 112))
    assert (first.parameters, first.multiply_adds) == (64 * 3 * 49, 64 * 3 * 49 * 112 * 112)
    assert (last.name, last.kind, last.output_shape) == ("fc", "fc", (1000,))
    assert (last.parameters, last.multiply_adds) == (2048 * 1000 + 1000, 2048 * 1000)
    by_name = {cost.name: cost for cost in costs}
    assert by_name["layer2.0.conv2"].kind == "conv 3x3/2"
    assert (by_name["bn1"].kind, by_name["bn1"].parameters, by_name["bn1"].multiply_adds) == ("bn", 128, 0)
    # 50 layers with weights as the paper counts them, and 4 projections.
    layers = [cost for cost in costs if cost.kind != "bn"]
    assert len([cost for cost in layers if "downsample" not in cost.name]) == 50
    assert len(layers) == 54


def test_the_input_size_and_the_classes_matter() -> None:
    small = of_architecture("resnet18", (3, 112, 112), num_classes=10)
    assert small[0].output_shape == (64, 56, 56)
    assert small[-1].parameters == 512 * 10 + 10


def test_the_network_counted_is_left_as_it_was() -> None:
    net = zoo.create("resnet18", num_classes=2).train()
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    complexity(net)
    assert net.training
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())


def test_a_grouped_convolution_is_counted_by_its_groups() -> None:
    (cost,) = complexity(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=4, bias=False)), (8, 10, 10))
    assert cost.multiply_adds == 10 * 10 * 8 * (8 // 4) * 9


def test_a_layer_that_cannot_be_counted_is_named() -> None:
    with pytest.raises(ValueError, match="cannot count 0: a ConvTranspose2d"):
        complexity(nn.Sequential(nn.ConvTranspose2d(3, 3, 3)))


def test_the_comparison_is_the_papers_own() -> None:
    compared = comparison()
    assert [network.architecture for network in compared] == list(PUBLISHED)
    for network in compared:
        assert network.totals.multiply_adds / 1e9 == pytest.approx(network.published, abs=0.06)
