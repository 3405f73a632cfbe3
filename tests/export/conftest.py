"""Graphs and artefacts that several tests look at: exporting takes seconds, so each is made once."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim.swa_utils import update_bn

from export.to_onnx import to_onnx
from models import zoo
from models.resnet import BasicBlock, Bottleneck, ResNet
from models.vgg import VGG
from service.contract import INPUT_NAME, OUTPUT_NAME, Contract, Preprocessing
from tests.conftest import missing

# Small, so that verifying is quick; a network built for 224 is as good an example at 64.
SMALL = Preprocessing(resize=72, crop=64, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
# VGG's classifier has 7×7 maps for its input: at this crop they are 14×14, averaged.
LARGE = SMALL.model_copy(update={"resize": 448, "crop": 448})
FULL = SMALL.model_copy(update={"resize": 256, "crop": 224})


@dataclass(frozen=True)
class Graph:
    """A network, and the ONNX graph made of it."""

    network: nn.Module
    preprocessing: Preprocessing
    model: onnx.ModelProto

    @property
    def serialized(self) -> bytes:
        data: bytes = self.model.SerializeToString()
        return data


def seeded(architecture: str, num_classes: int = 10) -> nn.Module:
    return zoo.create(architecture, num_classes=num_classes, seed=0).eval()


def settled(network: nn.Module) -> nn.Module:
    """Give BN the statistics of some noise, without which an untrained network's answers are all 0 and 1."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        update_bn([torch.randn(4, 3, 224, 224)], network)
    return network.eval()


def short(block: type[BasicBlock] | type[Bottleneck], **options: Any) -> nn.Module:
    """A ResNet of one block a row: every kind of layer that the deep ones have."""
    return settled(ResNet(block, (1, 1, 1, 1), 10, **options))


def slim_vgg(*, batch_norm: bool) -> nn.Module:
    """A VGG of five convolutions and a narrow classifier: the same forward, without 500 MB of weights."""
    return settled(unsettled_vgg(batch_norm=batch_norm))


def unsettled_vgg(*, batch_norm: bool) -> nn.Module:
    """The same where its answers make no difference."""
    network = VGG((1, 1, 1, 1, 1), 10, batch_norm=batch_norm)
    network.classifier[0] = nn.Linear(512 * 7 * 7, 16)
    network.classifier[3] = nn.Linear(16, 16)
    network.classifier[6] = nn.Linear(16, 10)
    return network.eval()


@pytest.fixture(scope="session")
def resnet18() -> Graph:
    network = seeded("resnet18")
    return Graph(network, SMALL, to_onnx(network, SMALL))


def contract_of(path: Path) -> Contract:
    """Read the contract the way the service does: through ONNX Runtime."""
    return Contract.from_metadata(session(path).get_modelmeta().custom_metadata_map)


def session(model: Path | bytes) -> ort.InferenceSession:
    return ort.InferenceSession(model, providers=["CPUExecutionProvider"])


def probabilities(model: Path | bytes, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    rows: NDArray[np.float32] = session(model).run([OUTPUT_NAME], {INPUT_NAME: images})[0]
    return rows


@pytest.fixture
def one_megabyte(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        missing(f"only root can mount a small file system: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
