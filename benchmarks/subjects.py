"""What is served: artefacts, made once, and the images sent to them."""

from __future__ import annotations

import io
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import toy
from service.repository import find

Say = Callable[[str], None]

# Name -> architecture, file of weights in the shared folder, whether it is quantised.
NETWORKS: dict[str, tuple[str, str, bool]] = {
    "resnet18-int8": ("resnet18", "resnet18.pth", True),
    "resnet50": ("resnet50", "resnet50.safetensors", False),
}
_TINY_SIDE, _TINY_BYTES = 100, 2048
_SCENES, _SCENE_SIZE = 64, (500, 375)  # ImageNet's median size


@dataclass(frozen=True)
class Subject:
    """Something to serve.

    Attributes:
        name: What it is called in the results.
        artifacts: Its model repository.
        model: Its name there.
        images: Files to send, in this order.
        note: What to know about it.
    """

    name: str
    artifacts: Path
    model: str
    images: tuple[Path, ...]
    note: str

    @property
    def few(self) -> tuple[Path, ...]:
        """Every tenth image: latencies are compared on these, each answered several times by either side.

        Large photos take longer to decode, and a second is not enough for all of them: others would be compared with
        others.
        """
        return self.images[::10]

    @property
    def artefact(self) -> Path:
        """The ONNX file that the service takes: the highest version."""
        return find(self.artifacts, self.model).path


def overhead(scratch: Path) -> Subject:
    """Return the network that only averages pixels, with one tiny image."""
    image = scratch / "tiny.jpg"
    image.write_bytes(tiny_jpeg())
    artifacts = scratch / "artifacts"
    toy.write(artifacts)
    return Subject("overhead", artifacts, toy.NAME, (image,), f"averages pixels; a {image.stat().st_size}-byte JPEG")


def network(name: str, shared: Path, scratch: Path, say: Say) -> Subject:
    """Return one of `NETWORKS` with photos; its artefact is made where it is not there yet.

    Args:
        name: A key of `NETWORKS`.
        shared: Where trained weights and photos are; without them, untrained ones and painted scenes do.
        scratch: Where artefacts are kept.
        say: Told of what takes long.
    """
    architecture, file, quantized = NETWORKS[name]
    weights = shared / "weights" / file
    trained = weights.is_file()
    images = photos(shared, scratch)
    artifacts = scratch / "artifacts"
    plain = architecture if trained else f"{architecture}-untrained"
    note = f"{'trained' if trained else 'UNTRAINED'} weights, {len(images)} {'photos' if trained else 'images'}"
    model = f"{plain}-int8" if quantized else plain
    say(f"{name}: exporting {model}, unless it is there already")
    calibration = ["--precision", "int8", "--calibration", str(images[0].parent)] if quantized else []
    _export(architecture, str(weights) if trained else "untrained", model, artifacts, *calibration)
    return Subject(name, artifacts, model, images, note)


def photos(shared: Path, scratch: Path) -> tuple[Path, ...]:
    """Return image files, shuffled (seeded) so that any stretch of them is a fair sample."""
    found = sorted((shared / "images").glob("*.JPEG")) or _paint(scratch / "scenes")
    random.Random(0).shuffle(found)
    return tuple(found)


def tiny_jpeg() -> bytes:
    """Return a JPEG of about 2 KB: the best quality that fits."""
    small = _scene(_TINY_SIDE, _TINY_SIDE, seed=0)
    fitting = [data for quality in range(5, 100, 5) if len(data := _jpeg(small, quality)) <= _TINY_BYTES]
    return fitting[-1]


def _export(architecture: str, weights: str, name: str, artifacts: Path, *more: str) -> None:
    # A process of its own: PyTorch and its threads have no business in one that measures.
    command = [sys.executable, "-m", "export", architecture, "--weights", weights, "--name", name, *more]
    subprocess.run([*command, "--output", str(artifacts), "--if-missing", "--quiet"], check=True)


def _paint(folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{seed:03}.jpg" for seed in range(_SCENES)]
    for seed, path in enumerate(paths):
        path.write_bytes(_jpeg(_scene(*_SCENE_SIZE, seed=seed), 90))
    return paths


def _scene(width: int, height: int, seed: int) -> Image.Image:
    """Return gradients, a disc and grain: it compresses about as a photo does."""
    y, x = np.mgrid[:height, :width] / max(width, height)
    disc = (x - 0.4) ** 2 + (y - 0.3) ** 2 < 0.04
    picture = 255 * np.stack([x, y, disc], axis=2) + np.random.default_rng(seed).normal(0, 9, (height, width, 1))
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))


def _jpeg(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()
