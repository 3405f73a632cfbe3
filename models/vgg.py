"""VGG-16 and VGG-19 (Simonyan & Zisserman 2014), the reference of He et al. 2015 (Fig. 3 left).

State-dict keys are torchvision's (`features.N`, `classifier.N`). The `_bn` nets have BN after each
convolution, as torchvision trains them; the original has none.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

# Columns D and E of Simonyan & Zisserman's Table 1: 3×3 layers per row; a 2×2 max pool ends each row.
VGG16 = (2, 2, 3, 3, 3)
VGG19 = (2, 2, 4, 4, 4)
CHANNELS = (64, 128, 256, 512, 512)


def _features(layers: Sequence[int], batch_norm: bool) -> nn.Sequential:
    modules: list[nn.Module] = []
    in_channels = 3
    for channels, count in zip(CHANNELS, layers, strict=True):
        for _ in range(count):
            modules.append(nn.Conv2d(in_channels, channels, kernel_size=3, padding=1))
            if batch_norm:
                modules.append(nn.BatchNorm2d(channels))
            modules.append(nn.ReLU(inplace=True))
            in_channels = channels
        modules.append(nn.MaxPool2d(kernel_size=2, stride=2))
    return nn.Sequential(*modules)


class VGG(nn.Module):
    """Rows of 3×3 convolutions, then three fully connected layers.

    Args:
        layers: Number of convolutions in each of the five rows.
        num_classes: Width of the last layer.
        batch_norm: Whether BN follows each convolution.
    """

    def __init__(self, layers: Sequence[int], num_classes: int = 1000, *, batch_norm: bool = False) -> None:
        super().__init__()
        self.features = _features(layers, batch_norm)
        # Makes any input size fit the classifier; at 224 it changes nothing.
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(4096, num_classes),
        )
        self._initialise()

    def _initialise(self) -> None:
        # Convolutions as He et al. 2015, *Delving Deep into Rectifiers*, Eq. 14; the classifier as Simonyan &
        # Zisserman, Sec. 3.1.
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, num_classes) of normalised images (N, 3, H, W)."""
        x = self.features(x)  # (N, 512, H/32, W/32)
        x = self.avgpool(x).flatten(1)  # (N, 512 × 7 × 7)
        logits: Tensor = self.classifier(x)
        return logits


def vgg16(num_classes: int = 1000) -> VGG:
    """Return VGG-16, configuration D."""
    return VGG(VGG16, num_classes)


def vgg19(num_classes: int = 1000) -> VGG:
    """Return VGG-19, configuration E: Fig. 3 left of He et al. 2015."""
    return VGG(VGG19, num_classes)


def vgg16_bn(num_classes: int = 1000) -> VGG:
    """Return VGG-16 with BN after each convolution."""
    return VGG(VGG16, num_classes, batch_norm=True)


def vgg19_bn(num_classes: int = 1000) -> VGG:
    """Return VGG-19 with BN after each convolution."""
    return VGG(VGG19, num_classes, batch_norm=True)
