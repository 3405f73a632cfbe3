"""What server and models say of themselves in the Open Inference Protocol."""

from __future__ import annotations

import asyncio
import threading
from importlib.metadata import version
from typing import Any

import httpx
import pytest

from service.errors import Unavailable
from tests.service.api.oip.requests import error
from tests.service.apps import FakeEngine, running


def told(url: str, path: str) -> Any:
    return httpx.get(url + path).raise_for_status().json()


def test_the_server_names_itself_and_the_extensions_that_are_tested_here(url: str) -> None:
    assert told(url, "/v2") == {
        "name": "resnet-serve",
        "version": version("resnet-serve"),
        "extensions": [
            "binary_tensor_data",
            "classification",
            "model_configuration",
            "model_repository",
            "schedule_policy",
            "statistics",
        ],
    }


def test_a_server_that_answers_is_live_and_ready_and_so_is_its_model(url: str) -> None:
    assert told(url, "/v2/health/live") == {"live": True}
    assert told(url, "/v2/health/ready") == {"live": True, "ready": True}
    for path in ("/v2/models/brightness/ready", "/v2/models/brightness/versions/3/ready"):
        assert told(url, path) == {"name": "brightness", "ready": True}


def test_a_model_names_its_tensors_and_versions(url: str) -> None:
    described = told(url, "/v2/models/brightness")
    assert described == told(url, "/v2/models/brightness/versions/3")
    assert described == {
        "name": "brightness",
        "versions": ["3"],
        "platform": "onnxruntime_onnx",
        "inputs": [
            {"name": "image", "datatype": "UINT8", "shape": [-1, 32, 32, 3]},
            {"name": "encoded_image", "datatype": "BYTES", "shape": [-1]},
        ],
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 256]}],
    }


def test_a_configuration_is_one_as_triton_has_them(url: str) -> None:
    config = told(url, "/v2/models/brightness/config")
    assert config == told(url, "/v2/models/brightness/versions/3/config")
    assert (config["name"], config["platform"], config["backend"]) == ("brightness", "onnxruntime_onnx", "onnxruntime")
    assert [(one["name"], one["data_type"], one["dims"]) for one in config["input"]] == [
        ("image", "TYPE_UINT8", [32, 32, 3]),
        ("encoded_image", "TYPE_STRING", [1]),
    ]
    assert config["output"] == [{"name": "probabilities", "data_type": "TYPE_FP32", "dims": [256]}]
    assert config["max_batch_size"] == 12  # what one request may bring
    assert config["dynamic_batching"]["default_queue_policy"]["max_queue_size"] == 64
    assert config["version_policy"] == {"specific": {"versions": [3]}}
    assert config["instance_group"][0]["kind"] == "KIND_CPU"


@pytest.mark.parametrize("what", ["", "/ready", "/config"])
def test_a_model_that_is_not_there_is_not_described(url: str, what: str) -> None:
    error(httpx.get(f"{url}/v2/models/resnet50{what}"), 404)
    error(httpx.get(f"{url}/v2/models/brightness/versions/1{what}"), 404)
    error(httpx.get(f"{url}/v2/models/brightness/versions/latest{what}"), 404)


def test_while_it_starts_a_server_is_live_and_nothing_is_ready() -> None:
    engine = FakeEngine()
    engine.warm = threading.Event()

    async def main() -> None:
        async with running(engine, wait=False) as (_, client):
            assert (await client.get("/v2/health/live")).json() == {"live": True}
            ready = await client.get("/v2/health/ready")
            assert (ready.status_code, ready.json()) == (503, {"live": True, "ready": False})
            for path in ("/v2/models/fake", "/v2/models/fake/ready"):
                assert "starting" in error(await client.get(path), 503)
            error(await client.post("/v2/models/fake/infer", json={}), 503)
            engine.warm.set()

    asyncio.run(main())


def test_a_model_without_its_engine_is_described_but_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with running(FakeEngine()) as (app, client):
            lost = property(lambda _: Unavailable("the engine is being replaced", retry_after_s=2.0))
            monkeypatch.setattr(type(app.state.lifecycle.model.backend), "unavailable", lost)
            assert (await client.get("/v2/health/ready")).status_code == 503
            assert (await client.get("/v2/models/fake")).status_code == 200
            assert "replaced" in error(await client.get("/v2/models/fake/ready"), 503)

    asyncio.run(main())
