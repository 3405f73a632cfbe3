from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from benchmarks.bound import BareLoop, Layout, PillowDecoder, layouts
from benchmarks.subjects import Subject, tiny_jpeg
from service.contract import INPUT_NAME, Contract, Preprocessing
from service.image import Decoder

PREPROCESSING = Preprocessing(resize=256, crop=224, mean=(0, 0, 0), std=(1, 1, 1))


def test_the_toy_network_answers_by_an_images_mean_colour(toy: Subject) -> None:
    session = ort.InferenceSession(toy.artefact, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(1).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)
    rows = session.run(None, {INPUT_NAME: images})[0]
    spread = onnx.numpy_helper.to_array(onnx.load(toy.artefact).graph.initializer[2])
    logits = images.mean(axis=(1, 2)) @ spread
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(rows, expected, rtol=1e-3)


def test_the_toy_networks_contract_is_one_that_is_served(toy: Subject) -> None:
    session = ort.InferenceSession(toy.artefact, providers=["CPUExecutionProvider"])
    contract = Contract.from_metadata(session.get_modelmeta().custom_metadata_map)
    assert len(contract.labels) == 1000
    assert not contract.weights.trained


def test_the_tiny_image_is_a_jpeg_of_about_two_kilobytes() -> None:
    assert 1500 < len(tiny_jpeg()) <= 2048
    assert Decoder(PREPROCESSING).decode(tiny_jpeg()).std() > 10


def test_both_decoders_of_the_bound_make_the_same_image() -> None:
    own, pillow = np.empty((2, 224, 224, 3), np.uint8)
    Decoder(PREPROCESSING).decode(tiny_jpeg(), own)
    PillowDecoder(PREPROCESSING)(tiny_jpeg(), pillow)
    assert np.abs(own.astype(int) - pillow).max() <= 2


@pytest.mark.parametrize("cores", [1, 2, 8])
def test_every_layout_keeps_every_core_busy(cores: int) -> None:
    assert all(layout.workers * layout.threads >= cores for layout in layouts(cores))


def test_the_bare_loop_measures_throughput_and_latency(toy: Subject) -> None:
    loop = BareLoop(toy.artefact, [tiny_jpeg()])
    reading = loop.throughput(Layout(2, 1, 4), loop.own, 0.3)
    assert reading.images_per_s > 20
    assert 0.05 < reading.cpu_ms < 50
    latency = loop.latency([tiny_jpeg()], 0.2)
    assert 0.05 < latency.p50_ms <= latency.p99_ms
    assert len(loop.fastest(2, 0.05)) == 2
