from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from models import zoo
from models.checkpoint import load_checkpoint
from models.responses import ranked, responses
from tests.models.conftest import Photos


@pytest.mark.parametrize(("file", "layers", "projections"), [("resnet18.pth", 17, 3), ("resnet50.safetensors", 49, 4)])
def test_every_layer_of_a_real_net_responds(
    file: str, layers: int, projections: int, shared: Path, photos: Photos
) -> None:
    net = load_checkpoint(shared / "weights" / file).network()
    measured = responses(net, photos.images[:6].split(4))
    assert len([r for r in measured if r.projection]) == projections
    assert len(measured) == layers + projections
    assert measured[0].name == "bn1"
    assert all(0.05 < response.std < 5 for response in measured)  # as in Fig. 7: of the order of one
    order = ranked(measured)
    assert len(order) == layers
    assert [r.std for r in order] == sorted((r.std for r in order), reverse=True)
    assert {r.name for r in order} == {r.name for r in measured if not r.projection}


def test_a_response_is_the_std_of_bn_outputs_over_all_photos(shared: Path, photos: Photos) -> None:
    net = load_checkpoint(shared / "weights" / "resnet18.pth").network()
    images = photos.images[:5]
    with torch.inference_mode():  # worked out by hand, for all photos at once
        x = net.maxpool(F.relu(net.bn1(net.conv1(images))))
        first = net.layer1[0]
        inner = first.bn1(first.conv1(x))
        outer = first.bn2(first.conv2(F.relu(inner)))
    measured = {r.name: r.std for r in responses(net, images.split(2))}
    assert measured["layer1.0.bn1"] == pytest.approx(inner.double().std(correction=0).item(), rel=1e-5)
    assert measured["layer1.0.bn2"] == pytest.approx(outer.double().std(correction=0).item(), rel=1e-5)


def test_the_network_is_left_as_it_was() -> None:
    net = zoo.create("plain18", num_classes=3).train()
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    responses(net, [torch.randn(2, 3, 64, 64)])
    assert net.training
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())


def test_a_net_without_bn_has_no_responses() -> None:
    with torch.device("meta"):
        net = zoo.create("vgg16")
    with pytest.raises(ValueError, match="no BN"):
        responses(net, [])


def test_no_images_is_an_error() -> None:
    with pytest.raises(ValueError, match="no images"):
        responses(zoo.create("resnet18", num_classes=3), [])
