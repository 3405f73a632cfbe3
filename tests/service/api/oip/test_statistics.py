"""Triton's statistics extension: what models were asked and ran, by model, exactly."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.errors import EngineFailed
from tests.service.api.crowded import crowded
from tests.service.api.greys import grey, uploads
from tests.service.api.oip.requests import behind, elements, encoded, error, image
from tests.service.apps import FakeEngine, running
from tests.service.artefacts import write_brightness

SHIFTS = {"first": 1, "other": 2}


async def told(client: httpx.AsyncClient, path: str = "/v2/models/fake/stats") -> list[dict[str, Any]]:
    response = await client.get(path)
    assert response.status_code == 200, response.text
    stats: list[dict[str, Any]] = response.json()["model_stats"]
    return stats


def counts(stats: dict[str, Any]) -> dict[str, int]:
    return {name: of["count"] for name, of in stats["inference_stats"].items()}


def test_before_it_was_asked_anything_a_model_has_counted_nothing() -> None:
    async def main() -> list[dict[str, Any]]:
        async with running(FakeEngine()) as (_, client):
            return await told(client)

    (stats,) = asyncio.run(main())
    assert set(counts(stats).values()) == {0}
    assert (stats["last_inference"], stats["inference_count"], stats["execution_count"]) == (0, 0, 0)
    assert (stats["name"], stats["version"], stats["batch_stats"]) == ("fake", "0", [])


def test_requests_are_counted_by_whatever_way_they_come_and_runs_by_their_images() -> None:
    async def main() -> tuple[dict[str, Any], list[int]]:
        engine = FakeEngine()
        async with running(engine, max_batch_size=8) as (_, client):
            await client.post("/classify", content=grey(7))
            await client.post("/classify/batch", files=uploads(grey(3), b"nothing", grey(4)))
            body = {"inputs": [encoded(grey(1), grey(2), grey(3))]}
            (await client.post("/v2/models/fake/versions/0/infer", json=body)).raise_for_status()
            (stats,) = await told(client, "/v2/models/fake/versions/0/stats")
            return stats, engine.batches

    stats, batches = asyncio.run(main())
    expected = dict.fromkeys(counts(stats), 3) | {"fail": 0, "cache_hit": 0, "cache_miss": 0}
    assert counts(stats) == expected
    assert stats["inference_count"] == sum(batches) == 6
    assert stats["execution_count"] == len(batches)
    assert {each["batch_size"]: each["compute_infer"]["count"] for each in stats["batch_stats"]} == {
        size: batches.count(size) for size in batches
    }
    durations = {name: of["ns"] for name, of in stats["inference_stats"].items()}
    parts = ("queue", "compute_input", "compute_infer", "compute_output")
    assert all(durations[name] > 0 for name in parts)
    assert durations["success"] > sum(durations[name] for name in parts), "and the rest of a request"


def test_what_is_not_answered_is_counted_as_failed_for_the_model_that_was_asked() -> None:
    def failing(_: object) -> None:
        raise EngineFailed("on purpose")

    async def main() -> tuple[dict[str, Any], dict[str, Any]]:
        engine = FakeEngine()
        async with running(engine, max_body_bytes=4096) as (_, client):
            for body in (b"", b"nothing", b"x" * 5000):
                await client.post("/classify", content=body)
            await client.post("/classify?top_k=0", content=grey(7))
            await client.post("/classify?model=nobody", content=grey(7))
            error(await client.post("/v2/models/nobody/infer", json={}), 404)
            error(await client.post("/v2/models/fake/infer", json={}), 400)
            (before,) = await told(client)
            engine._infer = failing  # type: ignore[assignment]
            await client.post("/classify", content=grey(5))
            (after,) = await told(client)
            return before, after

    before, after = asyncio.run(main())
    assert counts(before) == dict.fromkeys(counts(before), 0) | {"fail": 5}, "whoever asks for nobody asks no model"
    assert counts(after)["fail"] == 6
    assert after["execution_count"] == 0, "a run that failed is none"
    assert after["inference_stats"]["fail"]["ns"] > before["inference_stats"]["fail"]["ns"] > 0


def test_who_is_turned_away_is_counted_and_who_waits_is_not_yet() -> None:
    async def main() -> tuple[dict[str, Any], dict[str, Any]]:
        async with crowded() as (_, client, release):
            (full,) = await told(client)  # answered, however full
            await release()
            (after,) = await told(client)
            return full, after

    full, after = asyncio.run(main())
    assert (counts(full)["success"], counts(full)["fail"]) == (0, 1)
    assert (counts(after)["success"], counts(after)["fail"]) == (2, 1)


def test_answers_that_were_kept_are_hits_and_never_ran() -> None:
    async def main() -> dict[str, Any]:
        async with running(FakeEngine(), cache_entries=8) as (_, client):
            for level in (7, 7, 8, 7):
                await client.post("/classify", content=grey(level))
            (stats,) = await told(client)
            return stats

    stats = asyncio.run(main())
    of = counts(stats)
    assert (of["success"], of["compute_infer"], of["cache_hit"], of["cache_miss"]) == (4, 2, 2, 2)
    assert stats["inference_count"] == 2
    assert min(stats["inference_stats"][name]["ns"] for name in ("cache_hit", "cache_miss")) > 0


def test_each_model_and_version_has_its_own(tmp_path: Path) -> None:
    for version, (name, shift) in enumerate(SHIFTS.items(), 1):
        write_brightness(tmp_path, version, name=name, shift=shift)
    write_brightness(tmp_path, 5, name="first")

    async def main() -> list[list[dict[str, Any]]]:
        async with running(artifacts=tmp_path, model="first:1,first:5,other") as (_, client):
            for query, times in (("", 1), ("?version=5", 2), ("?model=other", 3)):
                for level in range(times):
                    (await client.post(f"/classify{query}", content=grey(level))).raise_for_status()
            paths = ("/v2/models/stats", "/v2/models/first/stats", "/v2/models/other/versions/2/stats")
            found = [await told(client, path) for path in paths]
            for path in ("/v2/models/nobody/stats", "/v2/models/other/versions/9/stats"):
                error(await client.get(path), 404)
            return found

    every, first, other = asyncio.run(main())
    found = [(each["name"], each["version"], each["inference_count"]) for each in every]
    assert found == [("first", "1", 1), ("first", "5", 2), ("other", "2", 3)]
    assert (first, other) == (every[:2], every[2:])


def test_several_processes_count_as_one(url: str) -> None:
    """Also where frontends answer and an engine process runs; of either shape."""

    def read() -> dict[str, Any]:
        (stats,) = httpx.get(f"{url}/v2/models/brightness/stats").raise_for_status().json()["model_stats"]
        return dict(stats)

    before = read()
    for level in range(10):  # a connection each, so that they spread over the frontends
        httpx.post(f"{url}/classify", content=grey(level)).raise_for_status()
    data = elements(grey(1), grey(2))
    text = httpx.Request("POST", url, json={"inputs": [behind(encoded(b"", b""), data)]}).content
    headers = {"Inference-Header-Content-Length": str(len(text))}
    httpx.post(f"{url}/v2/models/brightness/infer", content=text + data, headers=headers).raise_for_status()
    httpx.post(f"{url}/v2/models/brightness/infer", json={"inputs": [image(1)]}).raise_for_status()
    pages = [read() for _ in range(4)]
    assert all(page == pages[0] for page in pages), "whichever process is asked"
    after = pages[0]
    assert after["inference_count"] - before["inference_count"] == 13
    assert counts(after)["success"] - counts(before)["success"] == 12
    runs = sum(each["compute_infer"]["count"] for each in after["batch_stats"])
    assert runs == after["execution_count"]
    assert after["last_inference"] / 1e3 == pytest.approx(time.time(), abs=30)
