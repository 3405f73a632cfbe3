"""What tests on real trained networks share."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from models.photos import load_photo
from tests.models.checkpoints import Tensors, stand_in


class Photos(NamedTuple):
    """Normalised photos (N, 3, 224, 224), and the class index of each (N,)."""

    images: Tensor
    classes: Tensor


@pytest.fixture(scope="session")
def photos(shared: Path) -> Photos:
    """All 250 photos, prepared as torchvision does."""
    with (shared / "images" / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    images = torch.stack([load_photo(shared / "images" / row["file"]) for row in rows])
    return Photos(images, torch.tensor([int(row["class_index"]) for row in rows]))


@pytest.fixture(scope="module")
def trained() -> Tensors:
    """Stands for a trained net of seven classes."""
    return stand_in("resnet18", 7)
