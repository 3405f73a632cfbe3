"""Standard deviations of layer responses: the analysis of He et al. 2015, Sec. 4.2 and Fig. 7.

A layer's response is the output of its BN, before the nonlinearity and the addition. In a residual net it says
how strongly the residual functions answer: the paper finds that they are generally smaller than a plain net's
responses, and that the deeper a residual net is, the less each layer changes the signal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class LayerResponse:
    """How much one layer's response varies, over all images, channels and positions.

    Attributes:
        name: Of the BN, as in the state dict: "layer1.0.bn2".
        std: Standard deviation of its outputs.
        projection: Whether it is on a shortcut (Eq. 2), which is no layer of the net's depth: Fig. 7 shows none.
    """

    name: str
    std: float
    projection: bool


@dataclass
class _Sums:
    count: int = 0
    first: float = 0.0
    second: float = 0.0

    def add(self, response: Tensor) -> None:
        # Each batch in PyTorch's one stable pass; batches are added up in Python's double precision.
        variance, mean = (moment.item() for moment in torch.var_mean(response, correction=0))
        self.count += response.numel()
        self.first += response.numel() * mean
        self.second += response.numel() * (variance + mean * mean)

    def std(self) -> float:
        mean = self.first / self.count
        return math.sqrt(max(self.second / self.count - mean * mean, 0.0))


def responses(model: nn.Module, batches: Iterable[Tensor]) -> list[LayerResponse]:
    """Return the responses' standard deviations in the order of the layers.

    The network runs in eval mode, and is left in the mode it was in.

    Args:
        model: A network with BN.
        batches: Normalised images, (N, 3, H, W) each.

    Raises:
        ValueError: the network has no BN, or there are no images.
    """
    sums = {name: _Sums() for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    if not sums:
        raise ValueError("the network has no BN, so there are no responses in the sense of Fig. 7")
    hooks = [model.get_submodule(name).register_forward_hook(_adder(total)) for name, total in sums.items()]
    training = model.training
    try:
        model.eval()
        with torch.inference_mode():
            for batch in batches:
                model(batch)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    if not all(total.count for total in sums.values()):
        raise ValueError("there are no images to measure responses on")
    return [LayerResponse(name, total.std(), ".downsample." in name) for name, total in sums.items()]


def ranked(measured: Iterable[LayerResponse]) -> list[LayerResponse]:
    """Return the layers by falling standard deviation (Fig. 7, bottom), without projections."""
    return sorted((r for r in measured if not r.projection), key=lambda r: r.std, reverse=True)


def _adder(total: _Sums) -> Callable[[nn.Module, tuple[Tensor], Tensor], None]:
    # Added up at once: the ReLU that follows works in place, on this very tensor.
    def add(_module: nn.Module, _inputs: tuple[Tensor], output: Tensor) -> None:
        total.add(output)

    return add
