"""`/metrics`: every outcome is counted, once, and Prometheus's own tool finds nothing to say about the text."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from pathlib import Path
from shutil import which

import httpx
import pytest

from service.errors import EngineFailed
from service.families import CANCELLED, FAMILIES, OUTCOMES, REFUSALS
from service.threads import available_cores
from tests.conftest import missing
from tests.service.api.crowded import crowded
from tests.service.api.greys import grey, uploads
from tests.service.apps import FakeEngine, Gate, eventually, running, served
from tests.service.artefacts import write_brightness
from tests.service.scrapes import Scrape


async def scrape(client: httpx.AsyncClient) -> Scrape:
    response = await client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return Scrape(response.text)


def outcomes(found: Scrape, endpoint: str = "/classify") -> dict[str, float]:
    """Return the outcomes that there were."""
    every = {outcome: found.get("resnet_requests_total", endpoint=endpoint, outcome=outcome) for outcome in OUTCOMES}
    return {outcome: count for outcome, count in every.items() if count}


def test_requests_are_counted_by_how_they_ended() -> None:
    async def main() -> None:
        async with running(FakeEngine(), max_body_bytes=2048, max_image_pixels=10_000) as (_, client):
            await client.post("/classify", content=grey(7))
            await client.post("/classify", content=grey(8))
            await client.post("/classify", content=b"")
            await client.post("/classify", content=b"nothing")
            await client.post("/classify", content=grey(1)[:-40])
            await client.post("/classify", content=grey(1, size=(400, 400)))
            await client.post("/classify", content=b"x" * 4096)
            await client.post("/classify?top_k=0", content=grey(7))
            found = await scrape(client)
        assert outcomes(found) == {"answered": 2, "malformed": 1, "undecodable": 2, "too_large": 2, "invalid": 1}
        assert found.get("resnet_refused_images_total", reason="undecodable") == 2
        assert found.get("resnet_refused_images_total", reason="too_large") == 1
        assert found.get("resnet_request_duration_seconds_count", endpoint="/classify") == 8
        assert found.get("resnet_predictions_total", model="fake", version="0") == 2
        assert found.get("resnet_requests_in_flight") == 0
        for name in ("decode", "queue"):
            assert found.get(f"resnet_{name}_duration_seconds_count") == 2

    asyncio.run(main())


def test_images_of_one_request_are_counted_one_by_one() -> None:
    async def main() -> None:
        engine = FakeEngine()
        async with running(engine) as (_, client):
            await client.post("/classify/batch", files=uploads(grey(3), b"nothing", grey(4)))
            found = await scrape(client)
        assert outcomes(found, "/classify/batch") == {"answered": 1}
        assert found.get("resnet_predictions_total", model="fake", version="0") == 2
        assert found.get("resnet_refused_images_total", reason="undecodable") == 1
        assert found.get("resnet_batch_images_sum") == sum(engine.batches) == 2
        assert found.get("resnet_batch_images_count") == len(engine.batches)
        assert found.get("resnet_inference_duration_seconds_count") == len(engine.batches)

    asyncio.run(main())


def test_a_full_queue_and_a_failing_engine_are_told_apart() -> None:
    async def main() -> None:
        async with crowded() as (engine, client, release):
            full = await scrape(client)  # answered, however full
            await release()
            engine._infer = failing
            await client.post("/classify", content=grey(5))
            after = await scrape(client)
        assert full.get("resnet_requests_in_flight") == 2
        assert full.get("resnet_queue_capacity_images") == full.get("resnet_queue_depth_images") == 1
        assert outcomes(full) == {"rejected": 1}
        assert outcomes(after) == {"rejected": 1, "answered": 2, "failed": 1}
        assert after.get("resnet_engine_lanes") == 1

    def failing(_: object) -> None:
        raise EngineFailed("on purpose")

    asyncio.run(main())


def test_who_hangs_up_or_runs_out_of_time_is_counted_as_dead_work() -> None:
    gate = Gate()
    engine = FakeEngine(gate)
    with served(engine, max_batch_size=1, request_timeout_ms=1000) as url, httpx.Client(base_url=url) as client:
        gate.opened.set()
        client.post("/classify", content=grey(1))  # what an image costs is known
        gate.opened.clear()
        with pytest.raises(httpx.ReadTimeout):
            client.post("/classify", content=grey(2), timeout=0.3)  # its run has begun: nothing is saved
        with pytest.raises(httpx.ReadTimeout):
            client.post("/classify", content=grey(3), timeout=0.3)
        assert client.post("/classify", content=grey(4), timeout=10).status_code == 504

        def settled() -> bool:
            return outcomes(Scrape(client.get("/metrics").text)) == {"answered": 1, CANCELLED: 2, "expired": 1}

        assert eventually(settled)
        found = Scrape(client.get("/metrics").text)
        gate.opened.set()
    assert found.get("resnet_dropped_images_total", reason="cancelled") == 1
    assert found.get("resnet_dropped_images_total", reason="expired") == 1
    cost_s = found.get("resnet_inference_duration_seconds_sum")
    assert found.get("resnet_saved_compute_seconds_total") == pytest.approx(2 * cost_s)


def test_who_is_disconnected_in_the_middle_of_a_request_is_counted_by_what_it_was_told() -> None:
    post = b"POST /classify HTTP/1.1\r\nHost: a\r\n"
    chunked = post + b"Transfer-Encoding: chunked\r\n\r\n"
    told = {
        post: b"408",
        post + b"Content-Length: 99\r\n\r\nabc": b"408",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03": b"400",
        chunked + b"zz\r\n": b"400",
        post + b"X-Long: " + b"a" * 70_000: b"431",
        chunked + b"5;" + b"a=b;" * 20_000: b"431",
    }
    with served(FakeEngine(), header_timeout_s=0.2, body_timeout_s=0.2) as url, httpx.Client(base_url=url) as client:
        host, _, port = url.removeprefix("http://").partition(":")
        for sent, status in told.items():
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                connection.sendall(sent)
                assert connection.recv(1024).startswith(b"HTTP/1.1 " + status), sent[:60]
        found = Scrape(client.get("/metrics").text)
    away = {reason: found.get("resnet_turned_away_total", reason=reason) for reason in REFUSALS.values()}
    assert away == {"slow": 2, "malformed": 2, "too_large": 2, "unavailable": 0}
    assert outcomes(found) == {"slow": 1, "malformed": 1, "too_large": 1}  # those whose heads had come
    assert found.get("resnet_requests_in_flight") == 0


def test_before_and_after_the_model_is_there() -> None:
    async def main() -> None:
        engine = FakeEngine()
        engine.warm.clear()
        async with running(engine, wait=False) as (app, client):
            starting = await scrape(client)
            engine.warm.set()
            await app.state.lifecycle.loaded()
            ready = await scrape(client)
            weights = app.state.lifecycle.model.contract.weights.name
        assert starting.get("resnet_ready") == 0
        assert ready.get("resnet_ready") == 1
        about = {"model": "fake", "version": "0", "precision": "fp32", "provider": "FakeExecutionProvider"}
        assert ready.get("resnet_model_info", **about, weights=weights) == 1
        assert starting.sum("resnet_model_info") == 0

    asyncio.run(main())


@pytest.mark.parametrize(
    ("decode_threads", "each"), [(0, 0), (1, available_cores())], ids=["on the same cores", "on threads of their own"]
)
def test_what_several_models_can_do_is_added_up(tmp_path: Path, decode_threads: int, each: int) -> None:
    for name in ("first", "other"):
        write_brightness(tmp_path, name=name)

    async def main() -> list[Scrape]:
        limits = {"queue_capacity": 100, "decode_threads": decode_threads}
        async with running(artifacts=tmp_path, model="first,other", **limits) as (app, client):
            found = [await scrape(client)]
            write_brightness(tmp_path, 2, name="other", shift=1)
            await app.state.lifecycle.loader.look()
            await client.post("/classify?model=other", content=grey(1))
            found.append(await settled(client, 2 * each or available_cores()))
            await app.state.lifecycle.loader.unload("other")
            return [*found, await settled(client, each or available_cores())]

    async def settled(client: httpx.AsyncClient, lanes: int) -> Scrape:
        """What was served before closes when nobody waits for it any more."""
        async with asyncio.timeout(10):
            while (found := await scrape(client)).get("resnet_engine_lanes") != lanes:  # noqa: ASYNC110 - seen from outside
                await asyncio.sleep(0.01)
        return found

    two, swapped, one = asyncio.run(main())
    assert two.get("resnet_engine_lanes") == (2 * each or available_cores())
    assert [found.get("resnet_queue_capacity_images") for found in (two, swapped, one)] == [200, 200, 100]
    assert swapped.get("resnet_predictions_total", model="other", version="2") == 1
    assert [found.sum("resnet_model_info") for found in (two, swapped, one)] == [2, 2, 1]


def test_promtool_finds_nothing_to_say() -> None:
    if which("promtool") is None:
        missing("no promtool: Debian has it in `prometheus`")

    async def main() -> str:
        async with running(FakeEngine()) as (_, client):
            await client.post("/classify", content=grey(7))
            return (await scrape(client)).text

    text = asyncio.run(main())
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    with_slots = {family.name for family in FAMILIES} - {"resnet_slots"}  # of several processes only
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert names == with_slots


def test_there_are_no_more_series_than_are_known_beforehand() -> None:
    """Whatever clients send: no label has a value of theirs."""

    async def main() -> tuple[set[object], set[object]]:
        async with running(FakeEngine()) as (_, client):
            await client.post("/classify", content=grey(7))
            before = await scrape(client)
            for number in range(30):
                await client.post(
                    f"/classify?top_k={number}", content=grey(number), headers={"X-Request-ID": f"{number}"}
                )
                await client.post(f"/nowhere/{number}", headers={"User-Agent": f"agent {number}"})
            return set(before.samples), set((await scrape(client)).samples)

    before, after = asyncio.run(main())
    assert before == after
