"""Every network by name, and the official weights that exist for it.

A name alone rebuilds a network. It is the paper's, with what departs from the trained default after a dash:

    resnet50        shortcut option B (projection where dimensions increase), stride on the 3×3
    resnet50-a      option A: zero-padded identity            (-c: option C, all projections)
    resnet50-v1     stride on the 1×1, as the paper has it    (50, 101 and 152 layers only)
    resnet50-a-v1   both
    plain34         no shortcuts (18 and 34 layers)
    vgg19, vgg19_bn the reference the paper compares with, without and with BN
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from models import resnet, vgg
from models.download import download

Constructor = Callable[..., nn.Module]

# Of ImageNet's pixels scaled to [0, 1], RGB: what torchvision's weights, and nearly all others, are trained with.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def _shortcut_options(name: str, constructor: Constructor) -> Iterator[tuple[str, Constructor]]:
    yield name, constructor
    yield f"{name}-a", partial(constructor, shortcut="A")
    yield f"{name}-c", partial(constructor, shortcut="C")


def _architectures() -> Iterator[tuple[str, Constructor]]:
    for basic in (resnet.resnet18, resnet.resnet34):
        yield from _shortcut_options(basic.__name__, basic)
    for deep in (resnet.resnet50, resnet.resnet101, resnet.resnet152):
        for name, constructor in _shortcut_options(deep.__name__, deep):
            yield name, constructor
            yield f"{name}-v1", partial(constructor, stride_on="1x1")
    for other in (resnet.plain18, resnet.plain34, vgg.vgg16, vgg.vgg19, vgg.vgg16_bn, vgg.vgg19_bn):
        yield other.__name__, other


ARCHITECTURES: dict[str, Constructor] = dict(_architectures())


def create(architecture: str, *, num_classes: int = 1000, seed: int | None = None) -> nn.Module:
    """Build a network with fresh weights.

    Args:
        architecture: A name in `ARCHITECTURES`.
        num_classes: Width of the last layer.
        seed: Makes the weights reproducible, whatever the global random state, which it leaves as it was.
            BN's running statistics are then set too, so that the net gives sensible outputs untrained; these
            are reproducible up to rounding, as any PyTorch sum over several threads. None draws from the global
            generator, as any PyTorch module does, for a net to be trained or loaded.

    Returns:
        The network, in training mode, as every new PyTorch module.

    Raises:
        ValueError: there is no such architecture.
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(f"unknown architecture {architecture!r}: choose from {', '.join(ARCHITECTURES)}")
    if seed is None:
        return ARCHITECTURES[architecture](num_classes=num_classes)
    with torch.random.fork_rng(devices=[]):
        # The CPU's generator only: torch.manual_seed would reseed accelerators, which are not forked here.
        torch.default_generator.manual_seed(seed)
        model = ARCHITECTURES[architecture](num_classes=num_classes)
        _settle(model)
    return model


def _settle(model: nn.Module) -> None:
    """Set BN's running statistics from one batch of noise.

    New ones say mean 0 and variance 1. In eval mode that is no normalisation at all: each residual block adds
    to the variance of its input, and the softmax of an untrained deep net is a meaningless 0 or 1.
    """
    update_bn([_noise()], model)


def _noise() -> Tensor:
    """Return (8, 3, 224, 224): normalised pixels with the spectrum of photos, some dark and some bright.

    Amplitudes fall as the inverse of frequency (Field 1987, *Relations between the statistics of natural images and
    the response properties of cortical cells*). White noise averages out from layer to layer as photos do not, so
    that nets settled on it are still certain of what photos show. The size is the one served: smaller maps are
    nearly all zero-padded border, whose variance is another.
    """
    side = 224
    frequency = torch.hypot(torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)[None, :])
    frequency[0, 0] = torch.inf  # no constant part
    noise: Tensor = torch.fft.irfft2(torch.fft.rfft2(torch.randn(8, 3, side, side)) / frequency, s=(side, side))
    noise /= noise.std(dim=(2, 3), keepdim=True)
    return noise + torch.randn(8, 1, 1, 1)


@dataclass(frozen=True)
class OfficialWeights:
    """One set of torchvision's published weights (torchvision 0.29, `torchvision.models.resnet` and `.vgg`).

    Attributes:
        name: torchvision's: "IMAGENET1K_V1" (the paper's recipe), "IMAGENET1K_V2" (their newer one).
        url: Where the file is published.
        sha256_prefix: First hexadecimal digits of its SHA-256, which its file name carries.
        resize: Length in pixels that the short side is resized to (bilinear, antialiased).
        crop: Side in pixels of the centre crop.
        mean: Per channel, RGB, of pixels scaled to [0, 1].
        std: Per channel, RGB, of pixels scaled to [0, 1].
        acc1: Reported top-1 accuracy on ImageNet's validation set, in per cent.
        acc5: Reported top-5 accuracy there, in per cent.
    """

    name: str
    url: str
    sha256_prefix: str
    resize: int
    crop: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    acc1: float
    acc5: float


def _official(architecture: str, version: int, sha256_prefix: str, acc1: float, acc5: float) -> OfficialWeights:
    return OfficialWeights(
        name=f"IMAGENET1K_V{version}",
        url=f"https://download.pytorch.org/models/{architecture}-{sha256_prefix}.pth",
        sha256_prefix=sha256_prefix,
        # The newer recipe trains at another scale, and is tested at the one that suits it.
        resize=256 if version == 1 else 232,
        crop=224,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        acc1=acc1,
        acc5=acc5,
    )


# Architecture, version, hash prefix, top-1, top-5.
_TABLE = (
    ("resnet18", 1, "f37072fd", 69.758, 89.078),
    ("resnet34", 1, "b627a593", 73.314, 91.420),
    ("resnet50", 1, "0676ba61", 76.130, 92.862),
    ("resnet50", 2, "11ad3fa6", 80.858, 95.434),
    ("resnet101", 1, "63fe2227", 77.374, 93.546),
    ("resnet101", 2, "cd907fc2", 81.886, 95.780),
    ("resnet152", 1, "394f9c45", 78.312, 94.046),
    ("resnet152", 2, "f82ba261", 82.284, 96.002),
    ("vgg16", 1, "397923af", 71.592, 90.382),
    ("vgg16_bn", 1, "6c64b313", 73.360, 91.516),
    ("vgg19", 1, "dcbb9e9d", 72.376, 90.876),
    ("vgg19_bn", 1, "c79401a0", 74.218, 91.842),
)


def _by_architecture() -> dict[str, dict[str, OfficialWeights]]:
    found: dict[str, dict[str, OfficialWeights]] = {}
    for architecture, version, sha256_prefix, acc1, acc5 in _TABLE:
        weights = _official(architecture, version, sha256_prefix, acc1, acc5)
        found.setdefault(architecture, {})[weights.name] = weights
    return found


# Architecture -> name of the weights -> where they are and what they need; the newest comes last.
OFFICIAL = _by_architecture()


def default_weights(architecture: str) -> OfficialWeights:
    """Return the newest official weights of an architecture.

    Raises:
        ValueError: none were published for it.
    """
    if architecture not in OFFICIAL:
        raise ValueError(f"no official weights for {architecture!r}: only for {', '.join(OFFICIAL)}")
    return list(OFFICIAL[architecture].values())[-1]


def fetch(weights: OfficialWeights, *, progress: bool = True) -> Path:
    """Return the local file of official weights, downloaded and hash-checked the first time.

    Args:
        weights: From `OFFICIAL` or `default_weights`.
        progress: Whether to draw a progress bar on standard error, where that is a terminal.

    Raises:
        DownloadError: the file could not be had; nothing that looks complete is left behind.
    """
    return download(weights.url, weights.sha256_prefix, progress=progress)
