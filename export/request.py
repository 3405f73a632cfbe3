"""What a user asked to be exported, and whether it is there already."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from export.errors import BadInput
from export.repository import latest_version
from models.hashing import sha256
from service.contract import UNTRAINED, Label, Precision, hash_labels
from service.repository import FILE_NAME

AUTO = "auto"  # tell the architecture from the checkpoint
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Request:
    """One export, as the command line says it.

    Attributes:
        architecture: A name in `models.zoo.ARCHITECTURES`, or "auto".
        weights: The name of official weights, a file's path, "untrained", or None for the newest official ones.
        labels: The classes' names; None for the usual ones of the network's number of classes.
        name: The model's name in the repository; None for the architecture.
        output: The model repository.
        version: None for the next one.
        force: Whether to replace an existing version.
        seed: Of untrained weights, and of what calibration draws at random.
        resize, crop, mean, std: Preprocessing where it is not what the weights were trained with; as in
            `service.contract.Preprocessing`.
        precision: Of the artefact's weights.
        calibration: A folder of images, which int8 needs.
        evaluate: A folder or table of photos, labelled or not, for the certificate.
        max_drop: Most percentage points of top-1 on them that the precision may cost.
    """

    architecture: str
    weights: str | None = None
    labels: tuple[Label, ...] | None = None
    name: str | None = None
    output: Path = Path("artifacts")
    version: int | None = None
    force: bool = False
    seed: int = 0
    resize: int | None = None
    crop: int | None = None
    mean: Triple | None = None
    std: Triple | None = None
    precision: Precision = "fp32"
    calibration: Path | None = None
    evaluate: Path | None = None
    max_drop: float | None = None

    @property
    def kind(self) -> Literal["untrained", "official", "file"]:
        """What `weights` names; a file of the same name as official weights wins, as it would in a shell."""
        if self.weights == UNTRAINED:
            return "untrained"
        if self.weights is None or (self.weights.isidentifier() and not Path(self.weights).exists()):
            return "official"
        return "file"

    def settings(self) -> dict[str, Any]:
        """Return all that decides what the artefact computes, in JSON's types: equal settings, equal artefacts.

        Raises:
            BadInput: the file of weights cannot be read.
        """
        settings: dict[str, Any] = {
            "architecture": self.architecture,
            "weights": f"sha256:{_hash(Path(self.weights or ''))}" if self.kind == "file" else self.weights,
            "labels": hash_labels(self.labels) if self.labels else None,
            "seed": self.seed if self.kind == "untrained" or self.calibration else None,
            "resize": self.resize,
            "crop": self.crop,
            "mean": self.mean,
            "std": self.std,
            "precision": self.precision,
            "calibration": _listing(self.calibration) if self.calibration else None,
        }
        if self.max_drop is not None and self.evaluate:  # what was never held to it is not what is asked for
            settings |= {"max_drop": self.max_drop, "evaluate": _listing(self.evaluate)}
        as_json: dict[str, Any] = json.loads(json.dumps(settings))
        return as_json


def find_existing(request: Request) -> Path | None:
    """Return the artefact that this request would make again: the latest version, or the one it names.

    Needs no PyTorch, so that a second `make serve` starts in seconds.
    """
    from export.contract import read_settings  # onnx takes half a second to import: only where it is needed

    if request.name is None and request.architecture == AUTO:
        return None  # the name is not known before the checkpoint is read
    model = request.output / (request.name or request.architecture)
    path = model / str(request.version or latest_version(model)) / FILE_NAME
    if path.is_file() and read_settings(path) == request.settings():
        return path
    return None


def _hash(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise BadInput(f"--weights {path}: {error.strerror}") from error


def _listing(folder: Path) -> str:
    """Return a hash of the names and sizes of what is in a folder: the images themselves can be many gigabytes."""
    if folder.is_file():
        return f"sha256:{sha256(folder)}"
    files = sorted((path.relative_to(folder).as_posix(), path.stat().st_size) for path in folder.rglob("*"))
    return f"sha256:{hashlib.sha256(json.dumps(files).encode()).hexdigest()}"
