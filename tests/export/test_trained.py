"""Real trained networks, from the checkpoint to the artefact, and real photos through both."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from export.verify import reference
from models.checkpoint import load_checkpoint
from models.hashing import sha256
from service.repository import find
from tests.export.conftest import contract_of, probabilities

CHECKPOINTS = {"resnet18": "resnet18.pth", "resnet50": "resnet50.safetensors"}


def photos(shared: Path, every: int) -> tuple[NDArray[np.uint8], list[int]]:
    """Return some photos, resized and cropped as torchvision does it (N, 224, 224, 3), and their classes."""
    with (shared / "images" / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))[::every]
    crops = []
    for row in rows:
        with Image.open(shared / "images" / row["file"]) as opened:
            image = opened.convert("RGB")
        scale = 256 / min(image.size)
        image = image.resize((int(image.width * scale), int(image.height * scale)), Image.Resampling.BILINEAR)
        left, top = round((image.width - 224) / 2), round((image.height - 224) / 2)
        crops.append(np.asarray(image.crop((left, top, left + 224, top + 224))))
    return np.stack(crops), [int(row["class_index"]) for row in rows]


@pytest.mark.parametrize("architecture", CHECKPOINTS)
def test_the_contract_says_what_was_exported(architecture: str, trained: Path, shared: Path) -> None:
    contract = contract_of(find(trained, architecture).path)
    checkpoint = shared / "weights" / CHECKPOINTS[architecture]
    assert (contract.name, contract.architecture) == (architecture, architecture)
    assert (contract.weights.name, contract.weights.sha256) == (checkpoint.name, sha256(checkpoint))
    assert (contract.preprocessing.resize, contract.preprocessing.crop) == (256, 224)
    assert (len(contract.labels), contract.labels[281].label) == (1000, "tabby")
    assert contract.certificate is not None
    assert contract.certificate.max_difference("fp32") < 1e-5


# ResNet-18's are asked for over HTTP in every run: tests/service/test_accuracy.py.
@pytest.mark.parametrize("architecture", [pytest.param("resnet18", marks=pytest.mark.slow), "resnet50"])
def test_photos_are_answered_as_pytorch_answers_them_and_mostly_right(
    architecture: str, trained: Path, shared: Path
) -> None:
    images, classes = photos(shared, every=20)
    path = find(trained, architecture).path
    network = load_checkpoint(shared / "weights" / CHECKPOINTS[architecture]).network()
    want = reference(network, contract_of(path).preprocessing, images)
    got = probabilities(path, images)
    assert np.abs(got - want).max() < 1e-5
    assert np.array_equal(got.argmax(axis=1), want.argmax(axis=1))
    assert np.mean(got.argmax(axis=1) == classes) > 0.5  # 74.0% and 82.8% of all 250


def test_the_file_is_hardly_larger_than_its_weights(trained: Path) -> None:
    parameters = {"resnet18": 11_689_512, "resnet50": 25_557_032}
    for architecture, count in parameters.items():
        assert find(trained, architecture).path.stat().st_size == pytest.approx(4 * count, rel=2e-3)
