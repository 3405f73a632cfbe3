"""`--decoder gpu`, end to end in this process: the real codec, kernels, lanes and HTTP, in the host's memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import pytest
from PIL import Image

from service import local
from service.card.setup import decoding
from service.engine.cpu import CpuEngine
from service.engine.cuda import CudaEngine
from service.engine.device import HostDevice
from service.engine.interface import EngineError, contract_of
from service.engine.sessions import cpu_session
from service.errors import NotDecoded
from service.settings import Settings
from tests.service.apps import running
from tests.service.artefacts import write_brightness
from tests.service.card.host import HostKernels, with_bad_tables
from tests.service.images import encode

pytestmark = pytest.mark.usefixtures("nvimgcodec")


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CudaEngine:
    monkeypatch.setattr(local, "decoding", partial(decoding, kernels=HostKernels))
    artefact = write_brightness(tmp_path)
    return CudaEngine(HostDevice(), contract_of(cpu_session(artefact)), lambda _: cpu_session(artefact))


def grey(level: int, image_format: str = "JPEG", **options: Any) -> bytes:
    return encode(Image.new("RGB", (48, 40), (level,) * 3), image_format, **options)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))


async def top(client: httpx.AsyncClient, body: bytes) -> str:
    response = await client.post("/classify", content=body)
    assert response.status_code == 200, response.text
    label: str = response.json()["predictions"][0]["label"]
    return label


@pytest.mark.parametrize("cache", [0, 100])
def test_jpegs_and_others_are_answered_side_by_side(engine: CudaEngine, cache: int) -> None:
    seen: list[str] = []
    fill = engine._all[0].__class__._fill

    def watched(lane: Any, bucket: Any, images: Any) -> None:
        seen.extend(type(image).__name__ for image in images)
        fill(lane, bucket, images)

    async def test() -> None:
        async with running(cast("Any", engine), decoder="gpu", max_batch_size=4, cache_entries=cache) as (_, client):
            seen.clear()
            levels = [10, 60, 110, 160, 210]
            bodies = [grey(level) for level in levels] + [grey(level, "PNG") for level in levels]
            found = await asyncio.gather(*(top(client, body) for body in bodies))
            assert found == [f"grey {level}" for level in levels * 2]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine._all[0].__class__, "_fill", watched)
        run(test)
    assert seen.count("Resident") == 5, seen
    assert seen.count("ndarray") == 5, seen


def test_a_damaged_file_is_told_as_the_cpus_decoder_tells_it_and_harms_no_other(engine: CudaEngine) -> None:
    broken = with_bad_tables(grey(50))

    async def test() -> None:
        async with running(cast("Any", engine), decoder="gpu", max_batch_size=4) as (_, client):
            damaged, good = await asyncio.gather(client.post("/classify", content=broken), top(client, grey(77)))
            assert damaged.status_code == 422
            assert damaged.json()["title"] == "Corrupt image"
            assert good == "grey 77"
            files = [("images", (name, body)) for name, body in (("a", grey(5)), ("b", broken), ("c", grey(9)))]
            response = await client.post("/classify/batch", files=files)
            results = response.json()["results"]
            labels = [each["predictions"][0]["label"] if "predictions" in each else None for each in results]
            assert labels == ["grey 5", None, "grey 9"]
            assert results[1]["problem"]["status"] == 422
            counted = (await client.get("/metrics")).text
            assert 'resnet_refused_images_total{reason="undecodable"} 2.0' in counted

    run(test)


def test_when_the_card_cannot_decode_the_cpu_does(engine: CudaEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.card.codec.Codec.decode", lambda _, files: [None] * len(files))
    with pytest.raises(EngineError, match="cannot decode the sample"):
        decoding(cast("Any", None), cast("Any", engine), Settings(), HostKernels)

    async def test() -> None:
        monkeypatch.undo()
        monkeypatch.setattr(local, "decoding", partial(decoding, kernels=HostKernels))
        async with running(cast("Any", engine), decoder="gpu") as (app, client):
            monkeypatch.setattr("service.card.codec.Codec.decode", lambda _, files: [None] * len(files))
            assert await top(client, grey(200)) == "grey 200"
            model = app.state.lifecycle.model
            asking = asyncio.create_task(model.classify(grey(99)))
            await asyncio.sleep(0)
            await model.close()  # as when another takes its place
            assert asking.result()[0].argmax() == 99

    run(test)


def test_without_a_card_the_setting_is_refused(tmp_path: Path) -> None:
    engine = CpuEngine(write_brightness(tmp_path))
    with pytest.raises(EngineError, match="--decoder gpu needs a card, but the engine runs on CPUExecutionProvider"):
        decoding(cast("Any", None), engine, Settings())


def test_an_image_already_on_the_device_is_run_where_others_are_not(engine: CudaEngine) -> None:
    from service.engine.device import Resident

    pixels = np.full((32, 32, 3), 40, np.uint8)
    there = Resident(pixels.ctypes.data, lambda _: None)
    other = np.full((32, 32, 3), 90, np.uint8)
    assert engine.infer(cast("Any", [other, there, other])).argmax(1).tolist() == [90, 40, 90]
    assert issubclass(NotDecoded, Exception)
