"""Answers that are kept: who asks the same again, or at the same time, costs the engine nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from numpy.typing import NDArray

from tests.service.api.greys import grey, top, uploads
from tests.service.api.problems import assert_problem
from tests.service.apps import FakeEngine, Gate, rows_for, running, soon
from tests.service.artefacts import write_brightness
from tests.service.scrapes import Scrape
from tests.service.serving import MAINLY_SEVERAL, serving

NAME = "resnet_cache_images_total"


async def counted(client: httpx.AsyncClient) -> tuple[int, int, int]:
    """Return hits, shared and misses."""
    scrape = Scrape((await client.get("/metrics")).text)
    hits, shared, misses = (int(scrape.get(NAME, outcome=outcome)) for outcome in ("hit", "shared", "miss"))
    return hits, shared, misses


async def looked_up(client: httpx.AsyncClient, images: int) -> None:
    """Wait until so many images have been looked up."""
    async with asyncio.timeout(10):
        while sum(await counted(client)) < images:  # noqa: ASYNC110 - it is read off the service
            await asyncio.sleep(0.005)


def caching(
    engine: FakeEngine, entries: int = 8, **settings: object
) -> AbstractAsyncContextManager[tuple[FastAPI, httpx.AsyncClient]]:
    return running(engine, cache_entries=entries, **settings)


async def classified(client: httpx.AsyncClient, level: int) -> int:
    return top((await client.post("/classify", content=grey(level))).raise_for_status().json()["predictions"])


def test_the_same_pixels_are_computed_once_whatever_file_they_come_in() -> None:
    async def main() -> None:
        engine = FakeEngine()
        async with caching(engine) as (app, client):
            first = (await client.post("/classify", content=grey(7))).json()
            for again in (grey(7), grey(7, "BMP"), grey(7, size=(8, 8))):
                assert (await client.post("/classify", content=again)).json() == first
            assert await classified(client, 8) == 8
            assert engine.batches == [1, 1]
            assert await counted(client) == (3, 0, 2)
            assert app.state.lifecycle.model.backend.depth == 0

    asyncio.run(main())


def test_it_is_off_unless_it_is_set() -> None:
    async def main() -> None:
        engine = FakeEngine()
        async with running(engine) as (_, client):
            assert [await classified(client, 7) for _ in range(3)] == [7, 7, 7]
            assert engine.batches == [1, 1, 1]
            assert await counted(client) == (0, 0, 0)

    asyncio.run(main())


def test_no_more_are_kept_than_set_and_the_longest_unused_goes_first() -> None:
    async def main() -> None:
        async with caching(FakeEngine(), entries=2) as (_, client):
            for level in (1, 2, 1, 3):  # 3 takes the place of 2
                await classified(client, level)
            assert await counted(client) == (1, 0, 3)
            for level in (1, 3, 2):
                await classified(client, level)
            assert await counted(client) == (3, 0, 4)

    asyncio.run(main())


def test_of_several_images_only_the_unknown_are_computed_each_once() -> None:
    async def main() -> None:
        engine = FakeEngine()
        async with caching(engine, max_images_per_request=8) as (_, client):
            await classified(client, 5)
            files = uploads(*(grey(level) for level in (5, 6, 7, 6, 5)), b"no image")
            results = (await client.post("/classify/batch", files=files)).raise_for_status().json()["results"]
            assert [top(result["predictions"]) for result in results[:5]] == [5, 6, 7, 6, 5]
            assert results[5]["problem"]["status"] == 415
            assert sum(engine.batches) == 3
            assert await counted(client) == (2, 1, 3)
            pixels = {"name": "image", "datatype": "UINT8", "shape": [1, 8, 8, 3], "data": [7] * 192}
            assert (await client.post("/v2/models/fake/infer", json={"inputs": [pixels]})).status_code == 200
            assert sum(engine.batches) == 3

    asyncio.run(main())


def test_the_same_at_the_same_time_is_computed_once() -> None:
    gate = Gate()

    async def main() -> None:
        engine = FakeEngine(gate)
        async with caching(engine) as (_, client):
            calls = [asyncio.create_task(classified(client, 9)) for _ in range(12)]
            await looked_up(client, 12)
            gate.opened.set()
            assert await asyncio.gather(*calls) == [9] * 12
            assert sum(engine.batches) == 1
            assert await counted(client) == (0, 11, 1)

    asyncio.run(main())


async def two_and_a_first(client: httpx.AsyncClient, engine: FakeEngine) -> list[asyncio.Task[httpx.Response]]:
    """Have an image computed for a first request, and two more wait for it."""
    calls = [asyncio.create_task(client.post("/classify", content=grey(9)))]
    await soon(lambda: engine.batches == [1])
    calls += [asyncio.create_task(client.post("/classify", content=grey(9))) for _ in range(2)]
    await looked_up(client, 3)
    return calls


def test_who_waits_for_another_s_answer_is_answered_when_that_one_hangs_up() -> None:
    gate = Gate()

    async def main() -> None:
        engine = FakeEngine(gate)
        async with caching(engine) as (app, client):
            first, *others = await two_and_a_first(client, engine)
            first.cancel()
            gate.opened.set()
            answers = await asyncio.gather(*others)
            assert [top(answer.json()["predictions"]) for answer in answers] == [9, 9]
            assert sum(engine.batches) <= 2
            await soon(lambda: app.state.lifecycle.model.backend.depth == 0)

    asyncio.run(main())


def test_a_failure_is_told_but_not_kept() -> None:
    failing = [True, True, True]

    def infer(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        if images[0].mean() == 1 and failing and failing.pop():  # of this image alone: the engine as such is sound
            raise RuntimeError("no")
        return rows_for(images)

    async def main() -> None:
        async with caching(FakeEngine(infer)) as (_, client):
            while failing:
                assert_problem(await client.post("/classify", content=grey(1)), 500)
            assert await classified(client, 1) == 1

    asyncio.run(main())


def test_who_waits_for_another_s_answer_keeps_the_own_deadline() -> None:
    gate = Gate()

    async def main() -> None:
        engine = FakeEngine(gate)
        async with caching(engine) as (_, client):
            first = asyncio.create_task(client.post("/classify", content=grey(9)))
            await soon(lambda: engine.batches == [1])
            late = await client.post("/classify", content=grey(9), headers={"X-Request-Timeout-Ms": "300"})
            assert_problem(late, 504)
            gate.opened.set()
            assert (await first).status_code == 200

    asyncio.run(main())


def test_another_version_has_answers_of_its_own(tmp_path: Path) -> None:
    write_brightness(tmp_path, 1, shift=1)

    async def main() -> None:
        async with running(artifacts=tmp_path, cache_entries=8) as (app, client):
            assert [await classified(client, 100) for _ in range(2)] == [101, 101]
            write_brightness(tmp_path, 2, shift=2)
            await app.state.lifecycle.loader.look()
            assert [await classified(client, 100) for _ in range(2)] == [102, 102]
            assert await counted(client) == (2, 0, 2)

    asyncio.run(main())


@pytest.mark.parametrize("shape", MAINLY_SEVERAL)
def test_a_real_service_answers_the_same_with_it_in_every_shape(shape: tuple[str, ...], artifacts: Path) -> None:
    with serving(artifacts, "--cache-entries", "4", *shape) as service, httpx.Client() as client:
        for level in [*range(0, 200, 20), *range(0, 200, 20), 180, 180]:
            response = client.post(f"{service.url}/classify", content=grey(level))
            assert top(response.raise_for_status().json()["predictions"]) == level
        assert Scrape(client.get(f"{service.url}/metrics").text).get(NAME, outcome="hit") >= 2
