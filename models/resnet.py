"""Residual and plain networks of He et al. 2015, *Deep Residual Learning for Image Recognition*.

    image ─ conv1 7×7/2 ─ max pool 3×3/2 ─ layer1 ─ layer2 ─ layer3 ─ layer4 ─ average pool ─ fc ─ logits
    224        112              56           56       28       14        7          1

Each of `layer1` … `layer4` (Table 1's conv2_x … conv5_x) is a row of residual blocks; the first block of
every row but `layer1` halves the side and doubles the channels (Sec. 3.3). State-dict keys are torchvision's,
so that its official weights, and those of the many trainers that keep its names, load as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name every PyTorch reader knows

Shortcut = Literal["A", "B", "C"] | None
StrideOn = Literal["3x3", "1x1"]


def conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    """Return a convolution that keeps the side (divided by `stride`); BN follows it, so it has no bias."""
    padding = (kernel_size - 1) // 2
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)


class ZeroPad(nn.Module):
    """Option A's shortcut: identity, subsampled, with zeros for the channels that are new (Sec. 3.3, 4.1).

    It has no parameters, which is what lets Sec. 4.1 compare a plain and a residual net of the same size.
    """

    def __init__(self, new_channels: int, stride: int) -> None:
        super().__init__()
        self.new_channels = new_channels
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C + new_channels, ⌈H / stride⌉, ⌈W / stride⌉)."""
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, 0, self.new_channels))


class Projection(nn.Sequential):
    """The shortcut W_s of Eq. 2: a 1×1 convolution that matches dimensions, with BN as every convolution."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(conv(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels))


def make_shortcut(option: Shortcut, in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    """Return what a block adds its input through; None where nothing is added, as in a plain net.

    Sec. 4.1's options: A pads with zeros where dimensions increase, B projects there, C projects everywhere.
    Where dimensions stay, A and B are the identity of Eq. 1.
    """
    increases = stride != 1 or in_channels != out_channels
    if option is None:
        return None
    if option == "C" or (option == "B" and increases):
        return Projection(in_channels, out_channels, stride)
    return ZeroPad(out_channels - in_channels, stride) if increases else nn.Identity()


class BasicBlock(nn.Module):
    """Two 3×3 layers and a shortcut (Fig. 5 left): the block of the 18- and 34-layer nets.

    Args:
        in_channels: Channels of the input.
        channels: Channels of each layer, and of the output.
        stride: Of the first layer; 2 halves the side.
        shortcut: Option A, B or C of Sec. 4.1, or None for the same two layers of a plain net.
        stride_on: Without effect here, since both layers are 3×3.
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        shortcut: Shortcut = "B",
        stride_on: StrideOn = "3x3",
    ) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, channels, 3, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv(channels, channels, 3)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = make_shortcut(shortcut, in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, channels, H / stride, W / stride): σ(F(x) + shortcut(x)), Eq. 1 and 2."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        if self.downsample is not None:
            y = y + self.downsample(x)
        return F.relu(y, inplace=True)  # the second nonlinearity comes after the addition (Sec. 3.2)


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 layers and a shortcut (Fig. 5 right): the block of the 50-, 101- and 152-layer nets.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the first two layers; the last has four times as many.
        stride: 2 halves the side.
        shortcut: Option A, B or C of Sec. 4.1, or None for no shortcut at all.
        stride_on: Which layer carries the stride: see `ResNet`.
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        shortcut: Shortcut = "B",
        stride_on: StrideOn = "3x3",
    ) -> None:
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1 = conv(in_channels, channels, 1, stride if stride_on == "1x1" else 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv(channels, channels, 3, stride if stride_on == "3x3" else 1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = conv(channels, out_channels, 1)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = make_shortcut(shortcut, in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, 4 × channels, H / stride, W / stride): σ(F(x) + shortcut(x))."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        if self.downsample is not None:
            y = y + self.downsample(x)
        return F.relu(y, inplace=True)


class ResNet(nn.Module):
    """The networks of Table 1, and the plain nets of Sec. 3.3 that they are compared with.

    Args:
        block: `BasicBlock` or `Bottleneck`.
        layers: Number of blocks in conv2_x, conv3_x, conv4_x and conv5_x.
        num_classes: Width of the last layer.
        shortcut: Sec. 4.1's option "A", "B" or "C"; None leaves all shortcuts out, which makes a plain net.
        stride_on: Which layer of a strided bottleneck has the stride.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        layers: Sequence[int],
        num_classes: int = 1000,
        *,
        # The paper's 50-layer and deeper nets use B: C's extra parameters gain too little (Sec. 4.1).
        shortcut: Shortcut = "B",
        # The paper has the stride on the first 1x1. torchvision trains with it on the 3x3, where no pixel is
        # thrown away unseen (fb.resnet.torch began it; NVIDIA calls it ResNet v1.5): more accurate, and what
        # every official checkpoint needs. Shapes are the same, so a state dict cannot tell the two apart.
        stride_on: StrideOn = "3x3",
    ) -> None:
        super().__init__()
        self.in_channels = 64
        self.conv1 = conv(3, 64, 7, stride=2)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        rows = [
            self._make_row(block, channels, count, stride, shortcut, stride_on)
            for channels, count, stride in zip((64, 128, 256, 512), layers, (1, 2, 2, 2), strict=True)
        ]
        self.layer1, self.layer2, self.layer3, self.layer4 = rows
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512 * block.expansion, num_classes)
        self._initialise()

    def _make_row(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        channels: int,
        count: int,
        stride: int,
        shortcut: Shortcut,
        stride_on: StrideOn,
    ) -> nn.Sequential:
        blocks = []
        for i in range(count):
            blocks.append(block(self.in_channels, channels, stride if i == 0 else 1, shortcut, stride_on))
            self.in_channels = channels * block.expansion
        return nn.Sequential(*blocks)

    def _initialise(self) -> None:
        # "We initialize the weights as in [13]" (Sec. 3.4): He et al. 2015, *Delving Deep into Rectifiers*,
        # Eq. 14. BN begins as the identity and nn.Linear as PyTorch draws it.
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, num_classes) of normalised images (N, 3, H, W)."""
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)  # (N, 64, H/2, W/2)
        x = self.maxpool(x)  # (N, 64, H/4, W/4)
        x = self.layer1(x)  # (N, 64 × expansion, H/4, W/4)
        x = self.layer2(x)  # (N, 128 × expansion, H/8, W/8)
        x = self.layer3(x)  # (N, 256 × expansion, H/16, W/16)
        x = self.layer4(x)  # (N, 512 × expansion, H/32, W/32)
        x = self.avgpool(x).flatten(1)  # (N, 512 × expansion)
        logits: Tensor = self.fc(x)
        return logits


def resnet18(num_classes: int = 1000, shortcut: Shortcut = "B") -> ResNet:
    """Return the 18-layer residual net of Table 1."""
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes, shortcut=shortcut)


def resnet34(num_classes: int = 1000, shortcut: Shortcut = "B") -> ResNet:
    """Return the 34-layer residual net of Table 1 and Fig. 3 right."""
    return ResNet(BasicBlock, (3, 4, 6, 3), num_classes, shortcut=shortcut)


def resnet50(num_classes: int = 1000, shortcut: Shortcut = "B", stride_on: StrideOn = "3x3") -> ResNet:
    """Return the 50-layer residual net of Table 1."""
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes, shortcut=shortcut, stride_on=stride_on)


def resnet101(num_classes: int = 1000, shortcut: Shortcut = "B", stride_on: StrideOn = "3x3") -> ResNet:
    """Return the 101-layer residual net of Table 1."""
    return ResNet(Bottleneck, (3, 4, 23, 3), num_classes, shortcut=shortcut, stride_on=stride_on)


def resnet152(num_classes: int = 1000, shortcut: Shortcut = "B", stride_on: StrideOn = "3x3") -> ResNet:
    """Return the 152-layer residual net of Table 1."""
    return ResNet(Bottleneck, (3, 8, 36, 3), num_classes, shortcut=shortcut, stride_on=stride_on)


def plain18(num_classes: int = 1000) -> ResNet:
    """Return the 18-layer plain net of Sec. 4.1: the residual one without its shortcuts."""
    return resnet18(num_classes, shortcut=None)


def plain34(num_classes: int = 1000) -> ResNet:
    """Return the 34-layer plain net of Fig. 3 middle: the residual one without its shortcuts."""
    return resnet34(num_classes, shortcut=None)
