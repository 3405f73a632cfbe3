"""Parameters and multiply-adds of a network, layer by layer.

What is counted: one multiply-add for each weight and each position it is applied at, of convolutions and fully
connected layers. It is the count that gives the figures of He et al. 2015 (Table 1, last row; Sec. 3.3: "FLOPs
(multiply-adds)"). BN counts as none, since it folds into the convolution before it; activations, pooling and
additions have no weights to multiply with.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models import zoo

IMAGENET_SHAPE = (3, 224, 224)  # (C, H, W)


@dataclass(frozen=True)
class LayerCost:
    """What one layer costs for one image.

    Attributes:
        name: As in the state dict: "layer1.0.conv1".
        kind: "conv 3x3", "conv 1x1/2" (with its stride), "bn" or "fc".
        output_shape: Without the batch: (C, H, W) or (C,).
        parameters: Learned numbers; BN's running statistics are not learned.
        multiply_adds: For one image.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Totals:
    """What a whole network costs for one image."""

    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Compared:
    """One network of the paper's comparison: our own counts, and the multiply-adds that the paper prints."""

    architecture: str
    totals: Totals
    published: float


# The paper's figures, in 10⁹ multiply-adds: Fig. 3 (left, middle, right), then Table 1's last row. Sec. 4.1
# compares 18 and 34 layers without extra parameters (option A); 50 and more have projections and, as published,
# the stride on the 1×1.
PUBLISHED = {
    "vgg19": 19.6,
    "plain34": 3.6,
    "resnet18-a": 1.8,
    "resnet34-a": 3.6,
    "resnet50-v1": 3.8,
    "resnet101-v1": 7.6,
    "resnet152-v1": 11.3,
}


def complexity(model: nn.Module, input_shape: Sequence[int] = IMAGENET_SHAPE) -> list[LayerCost]:
    """Return the cost of every layer that has parameters, in the order in which they run.

    Nothing is computed, whatever the size: a copy of the network runs on PyTorch's meta device, which knows
    shapes only. The network itself is left as it is.

    Args:
        model: A network of `nn.Conv2d`, `nn.BatchNorm2d` and `nn.Linear` layers, each used once.
        input_shape: Of one image, (C, H, W).

    Raises:
        ValueError: some layer has parameters and is none of these.
    """
    costs: list[LayerCost] = []
    shapes_only = copy.deepcopy(model).to("meta").eval()
    for name, module in shapes_only.named_modules():
        if list(module.parameters(recurse=False)):
            module.register_forward_hook(_recorder(name, costs))
    with torch.inference_mode():
        shapes_only(torch.empty(1, *input_shape, device="meta"))
    return costs


def of_architecture(
    architecture: str, input_shape: Sequence[int] = IMAGENET_SHAPE, *, num_classes: int = 1000
) -> list[LayerCost]:
    """Return `complexity` of a network of the zoo, without drawing any weights.

    Raises:
        ValueError: there is no such architecture.
    """
    with torch.device("meta"):
        return complexity(zoo.create(architecture, num_classes=num_classes), input_shape)


def totals(costs: Iterable[LayerCost]) -> Totals:
    """Add up layers."""
    costs = list(costs)
    return Totals(sum(cost.parameters for cost in costs), sum(cost.multiply_adds for cost in costs))


def comparison() -> list[Compared]:
    """Return the paper's own comparison, at 224×224, counted on this package's networks."""
    return [Compared(name, totals(of_architecture(name)), published) for name, published in PUBLISHED.items()]


def _recorder(name: str, costs: list[LayerCost]) -> Callable[[nn.Module, tuple[Tensor], Tensor], None]:
    def record(module: nn.Module, _inputs: tuple[Tensor], output: Tensor) -> None:
        kind, multiply_adds = _count(name, module, output)
        parameters = sum(parameter.numel() for parameter in module.parameters())
        costs.append(LayerCost(name, kind, tuple(output.shape[1:]), parameters, multiply_adds))

    return record


def _count(name: str, module: nn.Module, output: Tensor) -> tuple[str, int]:
    """Return the kind of a layer and its multiply-adds for an output of (1, C, H, W) or (1, C)."""
    match module:
        case nn.Conv2d(kernel_size=(height, width), stride=(stride, _)):
            kind = f"conv {height}x{width}" + (f"/{stride}" if stride > 1 else "")
            return kind, output.numel() * module.weight[0].numel()
        case nn.Linear():
            return "fc", module.weight.numel()
        case nn.BatchNorm2d():
            return "bn", 0
        case _:
            raise ValueError(f"cannot count {name}: a {type(module).__name__}")
