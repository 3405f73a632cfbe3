"""What the engine, the queue and the clock can do to a request, with an engine that does as told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from numpy.typing import NDArray

from tests.service.api.greys import grey, top, uploads
from tests.service.api.problems import assert_problem
from tests.service.apps import FakeEngine, Gate, rows_for, running, soon

Pixels = NDArray[np.uint8]
Rows = NDArray[np.float32]


def depth(app: FastAPI) -> int:
    found: int = app.state.lifecycle.model.backend.depth
    return found


def raises(_: Sequence[Pixels]) -> Rows:
    raise RuntimeError("CUDA error 700 at 0x7f00dead")


def too_few(images: Sequence[Pixels]) -> Rows:
    return rows_for(images)[:-1]


def not_numbers(images: Sequence[Pixels]) -> Rows:
    return rows_for(images) * np.float32("nan")


@pytest.mark.parametrize("infer", [raises, too_few, not_numbers])
def test_a_failed_engine_is_500_whose_cause_only_the_log_tells(infer: object, caplog: pytest.LogCaptureFixture) -> None:
    def unless_grey(images: Sequence[Pixels]) -> Rows:
        rows: Rows = rows_for(images) if images[0].mean() == 127 else infer(images)  # type: ignore[operator]
        return rows

    async def main() -> list[httpx.Response]:
        async with running(FakeEngine(unless_grey)) as (_, client):
            headers = {"X-Request-ID": "find-me"}
            one = await client.post("/classify", content=grey(1), headers=headers)
            return [one, await client.post("/classify/batch", files=uploads(grey(1), grey(2)), headers=headers)]

    with caplog.at_level(logging.ERROR):
        responses = asyncio.run(main())
    for response in responses:
        detail = assert_problem(response, 500)
        assert detail == "inference failed; the log has the cause under this id"
    found = [record.getMessage() for record in caplog.records if "find-me" in record.getMessage()]
    assert len(found) == 2
    assert all("CUDA error 700" in line or "the engine answered" in line for line in found)


def test_after_a_failure_the_next_request_is_answered() -> None:
    failures = iter([True, False, False])  # the second is the service's own look at what is wrong

    def once(images: Sequence[Pixels]) -> Rows:
        return raises(images) if next(failures) else rows_for(images)

    async def main() -> None:
        async with running(FakeEngine(once)) as (_, client):
            assert_problem(await client.post("/classify", content=grey(1)), 500)
            response = await client.post("/classify", content=grey(55))
            assert top(response.json()["predictions"]) == 55

    asyncio.run(main())


@pytest.mark.parametrize("infer", [raises, too_few, not_numbers])
def test_an_engine_that_fails_whatever_it_is_given_makes_the_service_unavailable(infer: object) -> None:
    async def main() -> None:
        async with running(FakeEngine(infer)) as (app, client):  # type: ignore[arg-type]
            assert (await client.get("/readyz")).status_code == 200
            assert_problem(await client.post("/classify", content=grey(1)), 500)
            assert "being replaced" in assert_problem(await client.post("/classify", content=grey(1)), 503)
            assert (await client.get("/readyz")).status_code == 503
            assert (await client.get("/livez")).status_code == 503
            assert app.state.lifecycle.lost

    asyncio.run(main())


def test_what_nobody_expected_is_500_too_and_says_nothing_of_the_inside(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> httpx.Response:
        async with running(FakeEngine()) as (app, client):
            model = app.state.lifecycle.model

            async def broken(*_: object, **__: object) -> None:
                raise KeyError("a secret of ours")

            monkeypatch.setattr(model, "classify", broken)
            return await client.post("/classify", content=grey(1), headers={"X-Request-ID": "find-me"})

    with caplog.at_level(logging.ERROR):
        response = asyncio.run(main())
    assert "secret" not in assert_problem(response, 500) + response.text
    assert "find-me" in caplog.text
    assert "a secret of ours" in caplog.text


def test_a_deadline_that_passes_is_504_when_it_passes() -> None:
    gate = Gate()

    async def main() -> None:
        async with running(FakeEngine(gate), request_timeout_ms=300) as (_, client):
            started = asyncio.get_running_loop().time()
            assert_problem(await client.post("/classify", content=grey(1)), 504)
            assert 0.25 < asyncio.get_running_loop().time() - started < 10.0
            gate.opened.set()

    asyncio.run(main())


def test_a_deadline_that_cannot_be_met_is_504_at_once() -> None:
    engine = FakeEngine(cost_s=10.0)

    async def main() -> None:
        async with running(engine, request_timeout_ms=5000) as (_, client):
            started = asyncio.get_running_loop().time()
            assert_problem(await client.post("/classify", content=grey(1)), 504)
            assert asyncio.get_running_loop().time() - started < 4.0

    asyncio.run(main())
    assert engine.batches == []


def test_a_full_queue_is_429_and_says_when_to_come_back() -> None:
    gate = Gate()

    async def main() -> None:
        limits = {"queue_capacity": 2, "max_images_per_request": 2}
        engine = FakeEngine(gate)
        async with running(engine, **limits) as (app, client):
            running_now = asyncio.create_task(client.post("/classify", content=grey(1)))
            await soon(lambda: engine.batches == [1])
            waiting = asyncio.create_task(client.post("/classify/batch", files=uploads(grey(2), grey(3))))
            await soon(lambda: depth(app) == 2)
            assert_problem(await client.post("/classify", content=grey(4)), 429)
            assert (await client.get("/healthz")).json()["queue_depth"] == 2
            gate.opened.set()
            assert top((await running_now).json()["predictions"]) == 1
            assert [top(one["predictions"]) for one in (await waiting).json()["results"]] == [2, 3]

    asyncio.run(main())


def test_a_full_queue_refuses_before_anything_is_spent_on_decoding() -> None:
    gate = Gate()

    async def main() -> None:
        engine = FakeEngine(gate)
        async with running(engine, queue_capacity=1, max_images_per_request=1) as (app, client):
            calls = [asyncio.create_task(client.post("/classify", content=grey(1)))]
            await soon(lambda: engine.batches == [1])
            calls.append(asyncio.create_task(client.post("/classify", content=grey(2))))
            await soon(lambda: depth(app) == 1)
            assert_problem(await client.post("/classify", content=b"not an image"), 429)
            gate.opened.set()
            await asyncio.gather(*calls)

    asyncio.run(main())


def test_a_full_queue_refuses_before_the_body_is_read() -> None:
    gate = Gate()

    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    async def main() -> None:
        engine = FakeEngine(gate)
        async with running(engine, queue_capacity=1, max_images_per_request=1) as (app, client):
            calls = [asyncio.create_task(client.post("/classify", content=grey(1)))]
            await soon(lambda: engine.batches == [1])
            calls.append(asyncio.create_task(client.post("/classify", content=grey(2))))
            await soon(lambda: depth(app) == 1)
            for path in ("/classify", "/classify/batch"):
                assert_problem(await client.post(path, content=unread()), 429)
            gate.opened.set()
            await asyncio.gather(*calls)

    asyncio.run(main())


def test_waiting_images_are_batched_up_to_the_limit() -> None:
    gate = Gate()
    engine = FakeEngine(gate)

    async def main() -> list[int]:
        async with running(engine, max_batch_size=4) as (app, client):
            calls = [asyncio.create_task(client.post("/classify", content=grey(n))) for n in range(10)]
            await soon(lambda: sum(engine.batches) + depth(app) == 10)
            await asyncio.sleep(0.3)  # until they are decoded as well
            gate.opened.set()
            return [top(response.json()["predictions"]) for response in await asyncio.gather(*calls)]

    assert asyncio.run(main()) == list(range(10))
    assert sum(engine.batches) == 10
    assert max(engine.batches) == 4
