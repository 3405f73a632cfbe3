"""A client that hangs up gives its place away, costs nobody anything, and is no error."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Scope

from service.api.disconnect import WhileConnected
from service.errors import DeadlineExceeded
from tests.service.api.greys import grey, top
from tests.service.apps import FakeEngine, Gate, eventually, served
from tests.service.scrapes import Scrape
from tests.service.serving import Service, serving

PAUSE_S = 0.04


async def no_task_is_left() -> bool:
    await asyncio.sleep(0)
    return asyncio.all_tasks() == {asyncio.current_task()}


def hang_up(scope: Scope) -> None:
    """Do as the protocol does when a client hangs up."""
    if scope.get("on_hang_up"):
        scope["on_hang_up"]()


async def work(scope: Scope, deadline_s: float = math.inf, *, all_sent: bool = True) -> None:
    """Be at work for somebody, for longer than any test."""
    with WhileConnected(scope, deadline_s) as connected:
        if all_sent:
            connected.sent_all()
        await asyncio.sleep(30)


def test_a_hang_up_ends_what_is_awaited() -> None:
    async def main() -> None:
        scope: Scope = {}
        asyncio.get_running_loop().call_later(PAUSE_S, hang_up, scope)
        with pytest.raises(ClientDisconnect):
            await work(scope)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    asyncio.run(main())


def test_who_waits_costs_no_task_and_leaves_nothing_to_the_collector() -> None:
    async def main() -> None:
        with WhileConnected({}, time.monotonic() + 30) as connected:
            connected.sent_all()
            await asyncio.sleep(PAUSE_S)
            assert await no_task_is_left()

    gc.collect()
    gc.disable()
    try:
        asyncio.run(main())
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left = [thing for thing in gc.garbage if isinstance(thing, WhileConnected | asyncio.TimerHandle)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert not left


def test_a_hang_up_means_nothing_before_all_is_sent_and_after_the_work() -> None:
    async def main() -> None:
        scope: Scope = {}
        with WhileConnected(scope) as connected:
            hang_up(scope)  # whoever receives the body hears of it
            connected.sent_all()
        hang_up(scope)
        await asyncio.sleep(0)

    asyncio.run(main())


def test_a_failure_of_the_work_passes_through() -> None:
    async def failing() -> None:
        with WhileConnected({}) as connected:
            connected.sent_all()
            await asyncio.sleep(0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(failing())


def test_a_deadline_ends_what_is_awaited() -> None:
    async def main() -> None:
        for all_sent in (False, True):
            began_s = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                await work({}, began_s + 0.1, all_sent=all_sent)
            assert 0.1 <= time.monotonic() - began_s < 1
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0

    asyncio.run(main())


def test_being_cancelled_by_somebody_else_stays_a_cancellation() -> None:
    async def main() -> None:
        for also_gone in (False, True):
            scope: Scope = {}
            task = asyncio.create_task(work(scope))
            await asyncio.sleep(PAUSE_S)
            if also_gone:
                hang_up(scope)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())


# --- on a real socket ---


def begin(url: str, body: bytes, *headers: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    lines = ["POST /classify HTTP/1.1", "Host: a", f"Content-Length: {len(body)}", *headers, "", ""]
    try:
        connection.sendall("\r\n".join(lines).encode() + body)
    except OSError:
        connection.close()
        raise
    return connection


@pytest.mark.parametrize("side", [40, 550], ids=["", "whose body is much at last"])
def test_who_hangs_up_while_waiting_gives_the_place_to_somebody_who_is_there(
    side: int, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    engine = FakeEngine(gate)

    def depth() -> int:
        found: int = httpx.get(f"{url}/healthz").json()["queue_depth"]
        return found

    limits = {"queue_capacity": 3, "max_images_per_request": 1}
    with caplog.at_level(logging.INFO), served(engine, **limits) as url, ExitStack() as stack:
        caplog.clear()  # what loading had to say
        with begin(url, grey(0)):
            assert eventually(lambda: engine.batches == [1])
            waiting = [stack.enter_context(begin(url, grey(level, "BMP", (side, side)))) for level in (1, 2, 3)]
            assert eventually(lambda: depth() == 3)
            assert httpx.post(f"{url}/classify", content=grey(4)).status_code == 429
            for connection in waiting[:2]:
                connection.close()
            assert eventually(lambda: depth() == 1)
            answers: list[int] = []
            here = threading.Thread(
                target=lambda: answers.append(top(httpx.post(f"{url}/classify", content=grey(5)).json()["predictions"]))
            )
            here.start()
            assert eventually(lambda: depth() == 2)
            gate.opened.set()
            here.join(10)
    assert answers == [5]
    assert sum(engine.batches) == 3  # those who had left never reached the engine
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.fixture(scope="module", params=[(), ("--frontends", "1")], ids=["one process", "a frontend"])
def busy(request: pytest.FixtureRequest, artifacts: Path) -> Iterator[Service]:
    """A service with a single place in line, and a single thread to decode."""
    limits = ("--queue-capacity", "1", "--max-images-per-request", "1", "--decode-threads", "1")
    with serving(artifacts, *limits, *request.param) as service:
        yield service


@pytest.fixture(scope="module")
def large() -> bytes:
    """An image that takes a second or so to decode, and few bytes: as many pixels as are allowed."""
    return grey(7, size=(8192, 8192))


@pytest.mark.parametrize("reason", ["cancelled", "expired"])
def test_who_leaves_while_its_image_is_decoded_frees_its_place_at_once(
    busy: Service, large: bytes, reason: str
) -> None:
    with httpx.Client(base_url=busy.url) as client:
        client.post("/classify", content=grey(1)).raise_for_status()  # what an image costs is known
        before = Scrape(client.get("/metrics").text)
        started_s = time.monotonic()
        if reason == "cancelled":
            with begin(busy.url, large):
                assert eventually(lambda: client.get("/healthz").json()["queue_depth"] == 1)
        else:
            with begin(busy.url, large, "X-Request-Timeout-Ms: 150") as connection:
                assert connection.recv(64).startswith(b"HTTP/1.1 504 ")
        assert eventually(lambda: client.get("/healthz").json()["queue_depth"] == 0)
        freed_s = time.monotonic()
        found = Scrape(client.get("/metrics").text)
        # Not refused, though there is one place only; answered when the thread has come to the large one's end.
        assert top(client.post("/classify", content=grey(5)).raise_for_status().json()["predictions"]) == 5
        answered_s = time.monotonic()
    assert freed_s - started_s < (answered_s - started_s) * 0.7
    dropped, requests = "resnet_dropped_images_total", "resnet_requests_total"
    assert found.get(dropped, reason=reason) - before.get(dropped, reason=reason) == 1
    ended = {"endpoint": "/classify", "outcome": reason}
    assert found.get(requests, **ended) - before.get(requests, **ended) == 1
    assert found.get("resnet_requests_in_flight") == 0
    assert found.get("resnet_saved_compute_seconds_total") > before.get("resnet_saved_compute_seconds_total")
