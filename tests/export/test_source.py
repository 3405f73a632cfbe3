from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from export.errors import BadInput
from export.request import Request
from export.source import USUAL, load
from models import zoo
from models.hashing import sha256
from service.contract import UNTRAINED, Label
from tests.export.conftest import seeded


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a trainer saves: ResNet-18 with a head of three classes, wrapped."""
    path = tmp_path_factory.mktemp("checkpoint") / "last.pth"
    state = {f"module.{key}": tensor for key, tensor in seeded("resnet18", 3).state_dict().items()}
    torch.save({"epoch": 90, "state_dict": state}, path)
    return path


def test_a_checkpoint_tells_the_architecture_and_the_number_of_classes(checkpoint: Path) -> None:
    found = load(Request("auto", str(checkpoint)))
    assert (found.architecture, found.num_classes) == ("resnet18", 3)
    assert (found.weights.name, found.weights.sha256) == ("last.pth", sha256(checkpoint))
    assert found.preprocessing == USUAL
    assert not found.network.training
    image = torch.randn(1, 3, 64, 64)
    assert torch.equal(found.network(image), seeded("resnet18", 3)(image))


def test_a_file_of_official_weights_is_known_by_its_bytes_whatever_it_is_called(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    official = replace(zoo.OFFICIAL["resnet50"]["IMAGENET1K_V2"], sha256_prefix=sha256(checkpoint)[:8])
    monkeypatch.setitem(zoo.OFFICIAL["resnet18"], official.name, official)
    found = load(Request("resnet18", str(checkpoint)))
    assert found.weights.name == "IMAGENET1K_V2"
    assert found.preprocessing.resize == 232
    assert load(Request("resnet18", str(checkpoint), resize=300)).preprocessing.resize == 300


def test_preprocessing_is_the_users_where_they_say_so(checkpoint: Path) -> None:
    grey = (0.5, 0.5, 0.5)
    asked = Request("resnet18", str(checkpoint), resize=160, crop=128, mean=grey, std=(0.25, 0.25, 0.25))
    found = load(asked).preprocessing
    assert (found.resize, found.crop, found.mean, found.std) == (160, 128, grey, (0.25, 0.25, 0.25))
    black = load(replace(asked, mean=(0.0, 0.0, 0.0))).preprocessing
    assert black.mean == (0, 0, 0)


def test_another_number_of_labels_than_outputs_is_refused(checkpoint: Path) -> None:
    with pytest.raises(BadInput, match="3 classes apart, but there are 2 labels"):
        load(Request("auto", str(checkpoint), labels=(Label(label="cat"), Label(label="dog"))))


def test_a_trained_network_does_not_pass_for_an_untrained_one_because_of_its_name(
    checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / UNTRAINED).write_bytes(checkpoint.read_bytes())
    found = load(Request("auto", str(tmp_path / UNTRAINED)))
    assert found.weights.trained


def test_untrained_networks_have_as_many_outputs_as_there_are_labels_and_are_what_their_seed_says() -> None:
    labels = (Label(label="cat"), Label(label="dog"))
    first, same, other = (load(Request("resnet18", UNTRAINED, labels=labels, seed=seed)) for seed in (1, 1, 2))
    assert first.num_classes == 2
    assert not first.weights.trained
    image = torch.randn(1, 3, 64, 64)
    assert torch.equal(first.network(image), same.network(image))
    assert not torch.equal(first.network(image), other.network(image))
