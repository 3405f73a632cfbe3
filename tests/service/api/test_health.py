"""Health: ready only when a request would be answered."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import httpx
import pytest

from service.errors import Unavailable
from service.model import Model
from tests.service.api.greys import grey, top
from tests.service.api.problems import assert_problem
from tests.service.apps import FakeEngine, Gate, running, soon
from tests.service.serving import Service


def test_a_ready_service_says_what_answers(server: Service) -> None:
    for path in ("/healthz", "/readyz"):
        response = httpx.get(f"{server.url}{path}")
        assert response.status_code == 200
        assert response.headers["cache-control"] == "no-store"
        report = response.json()
        assert report["status"] == "ready"
        assert report["model"]["name"] == "brightness"
        assert report["model"]["weights"] == "made by hand"
        assert report["provider"] == "CPUExecutionProvider"
        assert report["queue_depth"] == 0
        assert report["uptime_s"] > 0
    assert httpx.get(f"{server.url}/livez").json() == {"status": "alive"}


async def statuses(client: httpx.AsyncClient) -> dict[str, int]:
    return {path: (await client.get(path)).status_code for path in ("/livez", "/readyz", "/healthz")}


def test_a_starting_service_is_alive_but_not_ready_until_it_is_warm() -> None:
    engine = FakeEngine()
    engine.warm = threading.Event()

    async def main() -> None:
        async with running(engine, wait=False) as (app, client):
            assert await statuses(client) == {"/livez": 200, "/readyz": 503, "/healthz": 503}
            report = await client.get("/readyz")
            assert report.json()["status"] == "starting"
            assert int(report.headers["retry-after"]) >= 1
            assert_problem(await client.post("/classify", content=grey(1)), 503)
            engine.warm.set()
            await app.state.lifecycle.loaded()
            assert await statuses(client) == {"/livez": 200, "/readyz": 200, "/healthz": 200}
            assert top((await client.post("/classify", content=grey(9))).json()["predictions"]) == 9

    asyncio.run(main())


def test_a_service_whose_model_cannot_be_built_says_so(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(FakeEngine):
        def warm_up(self, max_batch_size: int) -> dict[int, float]:
            raise RuntimeError("the driver is too old")

    async def main() -> None:
        async with running(Broken(), wait=False) as (app, client):
            assert await app.state.lifecycle.loaded() is None
            assert await statuses(client) == {"/livez": 200, "/readyz": 503, "/healthz": 503}
            assert (await client.get("/healthz")).json()["status"] == "failed"
            assert_problem(await client.post("/classify", content=grey(1)), 503)

    asyncio.run(main())
    assert "the driver is too old" in caplog.text


def test_a_draining_service_answers_who_is_in_and_refuses_who_comes() -> None:
    gate = Gate()

    async def main() -> None:
        engine = FakeEngine(gate)
        async with running(engine) as (app, client):
            inside = asyncio.create_task(client.post("/classify", content=grey(3)))
            await soon(lambda: engine.batches == [1])
            stopping = asyncio.create_task(app.state.lifecycle.stop())
            await soon(lambda: app.state.lifecycle.phase == "draining")
            assert await statuses(client) == {"/livez": 200, "/readyz": 503, "/healthz": 503}
            assert (await client.get("/readyz")).json()["status"] == "draining"
            assert_problem(await client.post("/classify", content=grey(1)), 503)
            gate.opened.set()
            assert top((await inside).json()["predictions"]) == 3
            await stopping

    asyncio.run(main())


def test_a_backend_that_lost_its_engine_is_not_ready_though_the_service_has_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        async with running(FakeEngine()) as (app, client):
            model: Model = app.state.lifecycle.model
            lost = property(lambda _: Unavailable("the engine is being replaced", retry_after_s=2.0))
            monkeypatch.setattr(type(model.backend), "unavailable", lost)
            assert await statuses(client) == {"/livez": 200, "/readyz": 503, "/healthz": 503}
            assert (await client.get("/readyz")).json()["status"] == "unavailable"
            assert "replaced" in assert_problem(await client.post("/classify", content=grey(1)), 503)

    asyncio.run(main())


def test_the_queue_depth_counts_who_waits() -> None:
    gate = Gate()

    async def main() -> None:
        engine = FakeEngine(gate)
        async with running(engine) as (app, client):
            calls = [asyncio.create_task(client.post("/classify", content=grey(0)))]
            await soon(lambda: engine.batches == [1])
            calls += [asyncio.create_task(client.post("/classify", content=grey(n))) for n in range(3)]
            await soon(lambda: app.state.lifecycle.model.backend.depth == 3)
            report: dict[str, Any] = (await client.get("/healthz")).json()
            gate.opened.set()
            await asyncio.gather(*calls)
            assert report["queue_depth"] == 3  # one is with the engine
            assert (await client.get("/healthz")).json()["queue_depth"] == 0

    asyncio.run(main())
