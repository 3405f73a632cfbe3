from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models.resnet import BasicBlock, Bottleneck, ResNet, Shortcut, ZeroPad, plain18, resnet18, resnet34, resnet50

TINY = (1, 1, 1, 1)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def shapes(tensors: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {key: tensor.shape for key, tensor in tensors.items()}


def test_keys_and_shapes_are_those_of_the_official_resnet18(shared: Path) -> None:
    official = torch.load(shared / "weights" / "resnet18.pth", weights_only=True)
    assert shapes(resnet18().state_dict()) == shapes(official)


def test_keys_and_shapes_are_those_of_the_official_resnet50(shared: Path) -> None:
    official = load_file(shared / "weights" / "resnet50.safetensors")
    with torch.device("meta"):
        assert shapes(resnet50().state_dict()) == shapes(official)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("option", ["A", "B", "C"])
@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_a_block_halves_the_side_by_its_stride_and_widens(
    block: type[BasicBlock] | type[Bottleneck], option: Shortcut, stride: int
) -> None:
    y = block(64, 96, stride, option)(draw(2, 64, 14, 14))
    assert y.shape == (2, 96 * block.expansion, 14 // stride, 14 // stride)


def test_an_identity_block_is_equation_1() -> None:
    block = BasicBlock(8, 8).eval()
    x = draw(2, 8, 6, 6)
    residual = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x)))))
    torch.testing.assert_close(block(x), F.relu(residual + x))
    assert not torch.equal(block(x), F.relu(residual)), "the shortcut must matter"


def test_a_projection_block_is_equation_2() -> None:
    block = Bottleneck(8, 8, stride=2).eval()
    x = draw(2, 8, 6, 6)
    y = F.relu(block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x))))))
    projection = F.conv2d(x, block.get_parameter("downsample.0.weight"), stride=2) / math.sqrt(1 + 1e-5)  # fresh BN
    torch.testing.assert_close(block(x), F.relu(block.bn3(block.conv3(y)) + projection))


def test_a_plain_block_adds_nothing() -> None:
    block = BasicBlock(8, 8, shortcut=None).eval()
    x = draw(2, 8, 6, 6)
    torch.testing.assert_close(block(x), F.relu(block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x)))))))


def test_option_a_keeps_every_other_pixel_and_pads_new_channels_with_zeros() -> None:
    x = draw(2, 3, 5, 5)
    y = ZeroPad(new_channels=4, stride=2)(x)
    assert y.shape == (2, 7, 3, 3)
    assert torch.equal(y[:, :3], x[:, :, ::2, ::2])
    assert not y[:, 3:].any()


def test_a_block_does_not_write_into_its_input() -> None:
    for option in ("A", "B", "C", None):
        block = BasicBlock(8, 8, shortcut=option).eval()
        x = draw(2, 8, 6, 6)
        block(x)
        assert torch.equal(x, draw(2, 8, 6, 6))


@pytest.mark.parametrize(("stride_on", "strides"), [("3x3", (1, 2)), ("1x1", (2, 1))])
def test_the_stride_of_a_bottleneck_is_where_asked(stride_on: str, strides: tuple[int, int]) -> None:
    net = ResNet(Bottleneck, TINY, 10, stride_on=stride_on)  # type: ignore[arg-type]
    first = net.layer2[0]
    assert isinstance(first, Bottleneck)
    assert (first.conv1.stride[0], first.conv2.stride[0]) == strides
    assert net(draw(2, 3, 64, 64)).shape == (2, 10)


def projections(net: nn.Module) -> list[str]:
    return [key.removesuffix(".downsample.0.weight") for key in net.state_dict() if key.endswith("downsample.0.weight")]


def test_options_a_b_and_c_project_nowhere_on_increase_and_everywhere() -> None:
    assert projections(resnet18(shortcut="A")) == projections(plain18()) == []
    assert projections(resnet18(shortcut="B")) == ["layer2.0", "layer3.0", "layer4.0"]
    assert len(projections(resnet18(shortcut="C"))) == 8
    with torch.device("meta"):
        assert projections(resnet50()) == ["layer1.0", "layer2.0", "layer3.0", "layer4.0"]


def test_option_a_differs_from_a_plain_net_of_the_same_weights() -> None:
    residual, plain = resnet18(10, shortcut="A").eval(), plain18(10).eval()
    plain.load_state_dict(residual.state_dict())
    x = draw(2, 3, 64, 64)
    with torch.inference_mode():
        assert not torch.allclose(residual(x), plain(x))


@pytest.mark.parametrize("option", ["A", "B", "C", None])
@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_training_reaches_every_weight_and_moves_the_statistics(
    block: type[BasicBlock] | type[Bottleneck], option: Shortcut
) -> None:
    net = ResNet(block, TINY, 10, shortcut=option).train()
    net(draw(4, 3, 64, 64)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())
    assert net.bn1.running_mean is not None
    assert net.bn1.running_mean.any()


def test_in_eval_mode_an_image_does_not_depend_on_its_batch() -> None:
    net = ResNet(BasicBlock, TINY, 10).eval()
    x = draw(3, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(net(x)[1:2], net(x[1:2]))


def test_convolutions_are_drawn_as_he_et_al_do() -> None:
    for name, module in resnet34().named_modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * math.prod(module.kernel_size)
            assert module.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.05), name
            assert module.bias is None


def test_other_image_sizes_work() -> None:
    net = ResNet(BasicBlock, TINY, 10).eval()
    with torch.inference_mode():
        assert net(draw(1, 3, 160, 97)).shape == (1, 10)
