"""What a request names as weights becomes a network, and what is known about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from export.errors import BadInput, WeightsUnavailable
from export.request import AUTO, Request
from models import zoo
from models.checkpoint import CheckpointError, load_checkpoint
from models.download import MIRROR_VARIABLE, cached
from models.errors import DownloadError
from models.zoo import OfficialWeights
from service.contract import UNTRAINED, Preprocessing, Weights

# What ResNets are trained with wherever nobody says otherwise; torchvision's V1 weights too.
USUAL = Preprocessing(resize=256, crop=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Source:
    """A network with its weights.

    Attributes:
        network: In eval mode, on the CPU, float32.
        architecture: A name in `models.zoo.ARCHITECTURES`.
        num_classes: Width of the last layer.
        weights: Where the numbers came from.
        preprocessing: What these weights were trained with, and the request's own wishes over that.
    """

    network: nn.Module
    architecture: str
    num_classes: int
    weights: Weights
    preprocessing: Preprocessing


def load(request: Request, *, progress: bool = False) -> Source:
    """Build the network a request asks for.

    Args:
        request: What to build.
        progress: Whether a download draws a progress bar on standard error.

    Raises:
        BadInput: there are no such weights, or they are not the architecture's.
        WeightsUnavailable: official weights could not be downloaded.
    """
    if request.architecture != AUTO and request.architecture not in zoo.ARCHITECTURES:
        raise BadInput(
            f"unknown architecture {request.architecture!r}: choose from {', '.join(zoo.ARCHITECTURES)}, "
            f"or {AUTO} to tell it from a checkpoint"
        )
    if request.kind == "file":
        return _from_file(request, Path(request.weights or ""))
    if request.architecture == AUTO:
        raise BadInput(f"{AUTO} needs a checkpoint to tell the architecture from: --weights PATH")
    if request.kind == "untrained":
        return _untrained(request)
    official = _official(request)
    return _from_file(request, _fetch(official, progress))


def _from_file(request: Request, path: Path) -> Source:
    architecture = None if request.architecture == AUTO else request.architecture
    num_labels = None if request.labels is None else len(request.labels)
    try:
        checkpoint = load_checkpoint(path, architecture=architecture, num_labels=num_labels)
    except CheckpointError as error:
        raise BadInput(str(error)) from error
    # The same bytes are the same weights, whatever the file is called: one downloaded by hand is recognised.
    official = _recognise(checkpoint.architecture, checkpoint.sha256)
    name = official.name if official else _file_name(path)
    return Source(
        network=checkpoint.network(),
        architecture=checkpoint.architecture,
        num_classes=checkpoint.num_classes,
        weights=Weights(name=name, sha256=checkpoint.sha256),
        preprocessing=_preprocessing(request, official),
    )


def _untrained(request: Request) -> Source:
    num_classes = 1000 if request.labels is None else len(request.labels)
    return Source(
        network=zoo.create(request.architecture, num_classes=num_classes, seed=request.seed).eval(),
        architecture=request.architecture,
        num_classes=num_classes,
        weights=Weights(name=UNTRAINED),
        preprocessing=_preprocessing(request, None),
    )


def _official(request: Request) -> OfficialWeights:
    published = zoo.OFFICIAL.get(request.architecture, {})
    if request.weights is None and published:
        return zoo.default_weights(request.architecture)
    if request.weights in published:
        return published[request.weights]
    wanted = f"no weights {request.weights!r}" if request.weights else "no official weights"
    choices = [*published, "a file's path", UNTRAINED]
    raise BadInput(f"{wanted} for {request.architecture}: --weights takes {', '.join(choices)}")


def _fetch(official: OfficialWeights, progress: bool) -> Path:
    try:
        return zoo.fetch(official, progress=progress)
    except DownloadError as error:
        raise WeightsUnavailable(
            f"{official.name} could not be downloaded ({error}). Three ways out: "
            f"(1) download {official.url} elsewhere and give it with --weights PATH, or put it at "
            f"{cached(official.url)}; "
            f"(2) set {MIRROR_VARIABLE} to the address of a folder that has it; "
            f"(3) go on without training, to try things out: --weights {UNTRAINED}"
        ) from error


def _recognise(architecture: str, sha256: str) -> OfficialWeights | None:
    published = zoo.OFFICIAL.get(architecture, {}).values()
    return next((official for official in published if sha256.startswith(official.sha256_prefix)), None)


def _file_name(path: Path) -> str:
    # A trained network must not pass for an untrained one because of its file's name.
    return path.name if path.name != UNTRAINED else f"file {path.name}"


def _preprocessing(request: Request, official: OfficialWeights | None) -> Preprocessing:
    known = official or USUAL
    values = {field: getattr(request, field) or getattr(known, field) for field in ("resize", "crop", "mean", "std")}
    try:
        preprocessing = Preprocessing(**values)
    except ValueError as error:  # pydantic's message has lines of its own
        raise BadInput(f"--resize {values['resize']} and --crop {values['crop']}: the crop must fit") from error
    if min(preprocessing.std) <= 0:
        raise BadInput(f"--std {' '.join(map(str, preprocessing.std))}: pixels are divided by it")
    return preprocessing
