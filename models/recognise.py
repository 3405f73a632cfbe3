"""Tell an architecture from its tensors.

Shapes say the depth, the kind of block, where there are projections (options B and C) and whether a VGG has
BN. They cannot say two things, since nothing with a shape differs; then the name returned is the usual one:

- the stride of a bottleneck: `resnet50`, with the stride on the 3×3, not `resnet50-v1`;
- what adds a block's input where nothing projects: `resnet34-a`, not `plain34`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

_BLOCK = re.compile(r"layer([1-4])\.(\d+)\.conv1\.weight")
_BASIC = {(2, 2, 2, 2): "resnet18", (3, 4, 6, 3): "resnet34"}
_BOTTLENECK = {(3, 4, 6, 3): "resnet50", (3, 4, 23, 3): "resnet101", (3, 8, 36, 3): "resnet152"}
_VGG = {13: "vgg16", 16: "vgg19"}


def recognise(tensors: Mapping[str, Tensor]) -> str | None:
    """Return the name in `zoo.ARCHITECTURES` that tensors under torchvision's keys belong to, or None.

    Only the skeleton is looked at, so that a checkpoint with a tensor missing or misshaped is still told what
    it nearly is.
    """
    if any(key.startswith("layer1.") for key in tensors):
        return _resnet(tensors)
    convolutions = [key for key, t in tensors.items() if key.startswith("features.") and t.ndim == 4]
    if len(convolutions) not in _VGG:
        return None
    return _VGG[len(convolutions)] + ("_bn" if "features.1.weight" in tensors else "")


def _resnet(tensors: Mapping[str, Tensor]) -> str | None:
    counts = dict.fromkeys("1234", 0)
    for key in tensors:
        if match := _BLOCK.fullmatch(key):
            counts[match[1]] += 1
    depths = _BOTTLENECK if "layer1.0.conv3.weight" in tensors else _BASIC
    name = depths.get((counts["1"], counts["2"], counts["3"], counts["4"]))
    if name is None:
        return None
    if "layer1.1.downsample.0.weight" in tensors:  # dimensions stay here, where only C projects
        return f"{name}-c"
    return name if "layer2.0.downsample.0.weight" in tensors else f"{name}-a"
