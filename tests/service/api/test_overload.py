"""More than can be answered, on real sockets: who obeys `Retry-After` succeeds, and health is told throughout."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from statistics import mean

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.service.api.greys import grey
from tests.service.apps import FakeEngine, rows_for, served
from tests.service.artefacts import write_laborious
from tests.service.scrapes import Scrape
from tests.service.serving import serving

BATCH, BATCH_S = 4, 0.04
CAPACITY = BATCH / BATCH_S  # images a second
BURST_S = 1.5
BUDGET_S = 15.0  # of each client; twice the burst is what the work takes at least


def infer(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    time.sleep(BATCH_S)
    return rows_for(images)


async def exchange(url: str, request: bytes) -> tuple[int, dict[str, str]]:
    """Send one request on a connection of its own; return the status and the headers."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    finally:
        writer.close()
    return int(head[0].split()[1]), dict(line.lower().split(": ", 1) for line in head[1:] if line)


async def obedient(url: str, image: bytes) -> tuple[int, float]:
    """Ask until answered, coming again when told to; return how often it asked and how long it took in all."""
    began_s, asked = time.monotonic(), 0
    while True:
        asked += 1
        left_ms = math.floor((began_s + BUDGET_S - time.monotonic()) * 1000)
        assert left_ms > 0, f"not answered in {BUDGET_S} s, though it asked {asked} times when told to"
        head = (
            f"POST /classify HTTP/1.1\r\nHost: a\r\nContent-Length: {len(image)}\r\nX-Request-Timeout-Ms: {left_ms}\r\n"
        )
        status, headers = await exchange(url, f"{head}\r\n".encode() + image)
        if status == 200:
            return asked, time.monotonic() - began_s
        assert status == 429
        await asyncio.sleep(int(headers["retry-after"]))


@pytest.fixture
def busy() -> FakeEngine:
    return FakeEngine(infer, cost_s=BATCH_S / 1.5)


def test_who_obeys_retry_after_is_answered_within_its_budget_at_twice_the_load(busy: FakeEngine) -> None:
    async def main(url: str) -> None:
        began_s, image = time.monotonic(), grey(3)
        asking = []
        for number in range(round(2 * CAPACITY * BURST_S)):
            await asyncio.sleep(max(0.0, began_s + number / (2 * CAPACITY) - time.monotonic()))
            asking.append(asyncio.create_task(obedient(url, image)))
        answers = await asyncio.gather(*asking)
        all_s = time.monotonic() - began_s
        assert mean(asked for asked, _ in answers) < 2.5
        # The engine is not left idle while they wait.
        assert all_s < 1.5 * len(asking) / CAPACITY

    with served(busy, max_batch_size=BATCH, queue_capacity=40, max_images_per_request=40) as url:
        asyncio.run(main(url))


async def two_for_each_answer(url: str, clients: int) -> list[tuple[int, float]]:
    """Have obedient clients come twice as fast as they are answered, however fast that is; return what they did."""
    answers: list[tuple[int, float]] = []
    image, coming = grey(3), iter(range(clients))

    async def ask() -> None:
        answers.append(await obedient(url, image))
        come(2)

    def come(number: int) -> None:
        for _ in islice(coming, number):
            group.create_task(ask())

    async with asyncio.TaskGroup() as group:
        come(4 * BATCH)
    return answers


@pytest.mark.slow  # three seconds of it; tests/service/test_appointments.py says which are given
def test_so_they_are_by_several_processes_which_give_appointments_with_one_engine(tmp_path: Path) -> None:
    write_laborious(tmp_path, rounds=10_000)
    limits = ("--max-batch-size", str(BATCH), "--queue-capacity", "20", "--max-images-per-request", "20")
    with serving(tmp_path, "--frontends", "2", *limits) as service:
        answers = asyncio.run(two_for_each_answer(service.url, 120))  # each within its budget
        found = Scrape(httpx.get(f"{service.url}/metrics").text)
    assert len(answers) == found.get("resnet_requests_total", endpoint="/classify", outcome="answered") == 120
    assert found.get("resnet_requests_total", endpoint="/classify", outcome="rejected") > 20
    assert mean(asked for asked, _ in answers) < 2.5


def test_health_is_told_under_any_load(busy: FakeEngine) -> None:
    refused = 0

    async def flood(url: str, request: bytes, over: asyncio.Event) -> None:
        nonlocal refused
        while not over.is_set():
            status, _ = await exchange(url, request)
            refused += status == 429

    async def main(url: str) -> None:
        image, over = grey(3), asyncio.Event()
        request = f"POST /classify HTTP/1.1\r\nHost: a\r\nContent-Length: {len(image)}\r\n\r\n".encode() + image
        flooding = [asyncio.create_task(flood(url, request, over)) for _ in range(64)]
        worst_s = 0.0
        for _ in range(10):
            for path in ("/healthz", "/readyz", "/livez", "/metrics"):
                began_s = time.monotonic()
                status, _ = await exchange(url, f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                worst_s = max(worst_s, time.monotonic() - began_s)
                assert status == 200
        over.set()
        await asyncio.gather(*flooding)
        assert refused > 0
        assert worst_s < 1

    with served(busy, max_batch_size=BATCH, queue_capacity=40, max_images_per_request=40) as url:
        asyncio.run(main(url))
