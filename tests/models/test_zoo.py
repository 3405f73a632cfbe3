from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
import torch

from export.images import synthetic_images
from models import zoo
from models.labels import imagenet_labels
from models.zoo import IMAGENET_MEAN, IMAGENET_STD
from tests.models.conftest import Photos


def test_a_seed_gives_the_same_weights_and_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    first = zoo.create("resnet18", seed=7).state_dict()
    second = zoo.create("resnet18", seed=7).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], second[key]) for key in first)
    other = zoo.create("resnet18", seed=8).state_dict()
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])


@pytest.mark.parametrize(
    "architecture",
    [
        "resnet18",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("resnet50", "resnet50-c-v1", "plain34", "resnet101-a")
        ),
    ],
)
def test_an_untrained_net_gives_sensible_probabilities_in_eval_and_train_mode(architecture: str) -> None:
    net = zoo.create(architecture, seed=0)
    # With the structure of photos: on white noise a net may be unsure that is sure of everything else.
    pixels = torch.from_numpy(synthetic_images(8, 224, seed=3)[1:-1]).permute(0, 3, 1, 2)
    images = (pixels / 255 - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(IMAGENET_STD).view(3, 1, 1)
    for mode in (False, True):
        net.train(mode)
        with torch.inference_mode():
            first = net(images).softmax(1).amax(dim=1)
        assert first.isfinite().all()
        assert first.median() < 0.1, "a net that learned nothing must not be sure of anything"


def test_the_untrained_net_that_is_served_without_a_network_is_sure_of_no_photo(photos: Photos) -> None:
    net = zoo.create("resnet50", seed=0).eval()
    with torch.inference_mode():
        first = net(photos.images[::20]).softmax(1).amax(dim=1)
    assert first.max() < 0.1


@pytest.mark.parametrize(
    "architecture",
    [  # the same blocks, more often: a third of a second each
        pytest.param(name, marks=[pytest.mark.slow] if name.startswith(("resnet101", "resnet152")) else [])
        for name in zoo.ARCHITECTURES
    ],
)
def test_every_name_builds_a_net_of_the_asked_width(architecture: str) -> None:
    with torch.device("meta"):
        net = zoo.create(architecture, num_classes=7)
        assert net(torch.empty(2, 3, 224, 224)).shape == (2, 7)


def test_an_unknown_architecture_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="unknown architecture 'resnet19': choose from resnet18, "):
        zoo.create("resnet19")


def test_official_weights_are_complete_and_consistent() -> None:
    both = {"resnet50", "resnet101", "resnet152"}
    for architecture, weights in zoo.OFFICIAL.items():
        assert architecture in zoo.ARCHITECTURES
        assert set(weights) == {"IMAGENET1K_V1", "IMAGENET1K_V2"} if architecture in both else {"IMAGENET1K_V1"}
        for name, official in weights.items():
            assert official.name == name
            assert re.fullmatch(r"[0-9a-f]{8}", official.sha256_prefix)
            assert official.url.endswith(f"/{architecture}-{official.sha256_prefix}.pth")
            assert (official.resize, official.crop) == ((256 if name.endswith("V1") else 232), 224)
            assert 69 < official.acc1 < official.acc5 < 97
    assert zoo.OFFICIAL.keys() == {
        *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
        *("vgg16", "vgg19", "vgg16_bn", "vgg19_bn"),
    }


def test_the_default_weights_are_the_newest() -> None:
    assert zoo.default_weights("resnet18").name == "IMAGENET1K_V1"
    default = zoo.default_weights("resnet50")
    assert (default.name, default.acc1, default.acc5) == ("IMAGENET1K_V2", 80.858, 95.434)
    with pytest.raises(ValueError, match="no official weights for 'plain34'"):
        zoo.default_weights("plain34")


def test_there_are_1000_distinct_readable_labels() -> None:
    labels = imagenet_labels()
    assert len(labels) == 1000
    assert len({entry.wnid for entry in labels}) == 1000
    # Told apart by more than capitals or a plural: "Cardigan" and "cardigan", "sunglass" and "sunglasses".
    assert len({entry.label.casefold().rstrip("s") for entry in labels}) == 1000
    assert all(re.fullmatch(r"n\d{8}", entry.wnid) for entry in labels)
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z' ()-]+", entry.label) for entry in labels)
    # ILSVRC 2012 numbers its classes by WordNet id.
    assert list(labels) == sorted(labels)


def test_known_classes_have_their_labels() -> None:
    labels = imagenet_labels()
    assert labels[0] == ("n01440764", "tench")
    assert labels[207] == ("n02099601", "golden retriever")
    assert [labels[i].label for i in (134, 517)] == ["crane (bird)", "crane (machine)"]
    assert [labels[i].label for i in (638, 639)] == ["maillot (tights)", "maillot (tank suit)"]
    assert [labels[i].label for i in (264, 474)] == ["Cardigan Welsh corgi", "cardigan"]
    assert labels[999] == ("n15075141", "toilet tissue")


def test_labels_agree_with_the_photos_on_index_and_wordnet_id(shared: Path) -> None:
    with (shared / "images" / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 250
    assert all(imagenet_labels()[int(row["class_index"])].wnid == row["wnid"] for row in rows)
