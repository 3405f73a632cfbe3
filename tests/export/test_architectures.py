"""Every kind of network that `models` has, from seeded weights through export and verification to a request."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from PIL import Image
from torch import nn

from export import contract
from export.golden import choose
from export.images import Pixels, synthetic_images
from export.labels import default_labels
from export.to_onnx import to_onnx
from export.verify import reference, verify
from models.resnet import BasicBlock, Bottleneck
from service.app import create_app
from service.contract import Preprocessing, Weights
from service.engine import open_engine
from service.settings import Settings
from tests.export.conftest import FULL, LARGE, SMALL, short, slim_vgg

# Two to five seconds each. The parts are in the others, in other combinations, and VGG is in test_to_onnx.py.
AGAIN = pytest.mark.slow
KINDS = [
    pytest.param(lambda: short(BasicBlock, shortcut="A"), SMALL, id="option A: zero-padded identity"),
    pytest.param(
        lambda: short(BasicBlock, shortcut="B"), SMALL, id="option B: projection where dimensions increase", marks=AGAIN
    ),
    pytest.param(lambda: short(BasicBlock, shortcut="C"), SMALL, id="option C: all projections", marks=AGAIN),
    pytest.param(lambda: short(BasicBlock, shortcut=None), SMALL, id="plain", marks=AGAIN),
    pytest.param(lambda: short(Bottleneck, shortcut="A"), SMALL, id="bottleneck, option A", marks=AGAIN),
    pytest.param(
        lambda: short(Bottleneck, stride_on="1x1"), SMALL, id="bottleneck with the stride on the 1x1", marks=AGAIN
    ),
    pytest.param(lambda: short(Bottleneck, shortcut="C"), SMALL, id="bottleneck, option C"),
    pytest.param(lambda: slim_vgg(batch_norm=False), FULL, id="VGG", marks=AGAIN),
    pytest.param(lambda: slim_vgg(batch_norm=True), LARGE, id="VGG with BN at 448", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("network", "preprocessing"), KINDS)
def test_every_kind_of_network_is_exported_verified_and_served(
    network: Callable[[], nn.Module], preprocessing: Preprocessing, tmp_path: Path
) -> None:
    built = network()
    as_is = preprocessing.model_copy(update={"resize": preprocessing.crop})
    model = to_onnx(built, as_is)
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    certificate = verify(model.SerializeToString(), built, as_is, batch_sizes=(1, 3))
    assert certificate.max_difference("fp32") < 1e-5
    promise = contract.build(
        name="kind",
        architecture="kind",
        precision="fp32",
        weights=Weights(name="seeded"),
        preprocessing=as_is,
        labels=default_labels(10),
        certificate=certificate,
        golden=choose(model, built, as_is, "fp32"),
    )
    contract.attach(model, promise, {})
    onnx.save(model, tmp_path / "model.onnx")

    images = synthetic_images(4, as_is.crop, seed=8)[1:-1]
    want = reference(built, as_is, images)
    answers = asyncio.run(ask(tmp_path / "model.onnx", images))
    for row, predictions in zip(want, answers, strict=True):
        given = np.array([each["probability"] for each in sorted(predictions, key=lambda each: each["index"])])
        assert np.abs(given - row).max() < 1e-5


async def ask(path: Path, images: Pixels) -> list[list[dict[str, float]]]:
    """Return what the service answers to each image: all ten classes."""
    app = create_app(Settings(decode_threads=1, max_batch_size=1), open_engine(path, provider="cpu"))
    answers = []
    async with app.router.lifespan_context(app):
        assert await app.state.lifecycle.loaded() is not None
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
            for image in images:
                body = io.BytesIO()
                Image.fromarray(image).save(body, "PNG")
                answer = await client.post("/classify?top_k=10", content=body.getvalue())
                answers.append(answer.raise_for_status().json()["predictions"])
    return answers
