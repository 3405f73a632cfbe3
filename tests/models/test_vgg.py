from __future__ import annotations

import torch

from models import vgg


def test_keys_are_torchvisions() -> None:
    with torch.device("meta"):
        plain, normalised = vgg.vgg16().state_dict(), vgg.vgg19_bn().state_dict()
    assert list(plain)[:4] == ["features.0.weight", "features.0.bias", "features.2.weight", "features.2.bias"]
    assert list(plain)[-8:-6] == ["features.28.weight", "features.28.bias"]
    assert [key for key in plain if key.startswith("classifier") and key.endswith("weight")] == [
        "classifier.0.weight",
        "classifier.3.weight",
        "classifier.6.weight",
    ]
    assert plain["classifier.0.weight"].shape == (4096, 512 * 7 * 7)
    assert normalised["features.0.weight"].shape == (64, 3, 3, 3)
    assert normalised["features.1.running_mean"].shape == (64,)
    assert "features.50.running_var" in normalised


def test_parameters_are_the_published_ones() -> None:
    published = {"vgg16": 138_357_544, "vgg19": 143_667_240, "vgg16_bn": 138_365_992, "vgg19_bn": 143_678_248}
    with torch.device("meta"):
        counted = {name: sum(p.numel() for p in getattr(vgg, name)().parameters()) for name in published}
    assert counted == published


def test_a_row_halves_the_side_and_the_head_has_the_classes() -> None:
    with torch.device("meta"):
        net = vgg.vgg16(num_classes=7)
        image = torch.empty(2, 3, 224, 224)
        assert net.features(image).shape == (2, 512, 7, 7)
        assert net(image).shape == (2, 7)
        assert net(torch.empty(2, 3, 160, 160)).shape == (2, 7)
