"""Real processes: they serve together, and when one is killed nobody hangs and the rest goes on."""

from __future__ import annotations

import asyncio
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.service.cluster.processes import Cluster, answered, cluster, grey, lives, until

# What is promised. Measured with as many busy processes beside it as would fill four such machines: 1.0 s.
BACK_WITHIN_S = 5


def crowd(here: Cluster, requests: int, at_once: int = 32) -> list[int | None]:
    """Send `requests` images, all of different greys; return the statuses, None where the connection broke."""

    def send(number: int) -> int | None:
        try:
            response = here.classify(number % 256)
        except httpx.TransportError:
            return None
        if response.status_code == 200:
            assert answered(response) == f"grey {number % 256}"
        return response.status_code

    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(send, range(requests)))


def test_every_caller_gets_its_own_answer(here: Cluster) -> None:
    assert crowd(here, 200) == [200] * 200


def test_a_request_of_several_images_keeps_their_order(here: Cluster) -> None:
    files = [("images", (f"{level}.png", grey(level) if level else b"none")) for level in (9, 200, 0, 31, 77)]
    results = here.client.post("/classify/batch", files=files).json()["results"]
    known = [result["predictions"][0]["label"] if "predictions" in result else None for result in results]
    assert known == ["grey 9", "grey 200", None, "grey 31", "grey 77"]


@pytest.mark.slow  # two seconds; api/test_disconnect.py asks several processes, too
def test_callers_that_hang_up_harm_nobody(here: Cluster) -> None:
    async def main() -> None:
        limits = httpx.Limits(max_connections=40)
        async with httpx.AsyncClient(base_url=here.service.url, limits=limits, timeout=30) as client:

            async def send(number: int) -> None:
                sending = asyncio.create_task(client.post("/classify", content=grey(number % 256)))
                if number % 3 == 0:
                    await asyncio.sleep(number % 7 / 1000)
                    sending.cancel()
                    return
                assert answered(await sending) == f"grey {number % 256}"

            await asyncio.gather(*map(send, range(400)))

    asyncio.run(main())
    until(lambda: here.depth() == 0, 5)


def test_a_frontend_that_is_killed_is_replaced_while_the_other_serves(here: Cluster) -> None:
    pid = here.kill("frontend-0")
    statuses = crowd(here, 100, at_once=4)
    # A connection that it had accepted breaks; all others are answered.
    assert statuses.count(200) >= 95
    assert set(statuses) <= {200, None}
    until(lambda: here.pid("frontend-0") != pid and not lives(pid), BACK_WITHIN_S)
    here.kill("frontend-1")
    until(here.ready, BACK_WITHIN_S)
    assert crowd(here, 50) == [200] * 50


def test_when_the_engine_is_killed_whoever_waits_is_told_at_once_and_soon_it_serves_again(here: Cluster) -> None:
    pid = here.kill("engine-0", signal.SIGSTOP)  # so that requests pile up in front of it
    with ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(here.classify, level) for level in range(20)]
        until(lambda: here.depth() == 20, 10)
        killed_s = time.monotonic()
        here.kill("engine-0")
        responses = [future.result() for future in waiting]
        told_s = time.monotonic() - killed_s
    assert [response.status_code for response in responses] == [503] * 20
    assert {response.headers["Retry-After"] for response in responses} == {"1"}
    assert told_s < 1
    assert not here.ready()
    until(here.ready, BACK_WITHIN_S)
    assert here.pid("engine-0") != pid
    assert here.depth() == 0  # no slot was lost
    assert crowd(here, 100) == [200] * 100


def test_an_engine_that_is_killed_while_it_starts_is_started_again(here: Cluster) -> None:
    first = here.kill("engine-0")
    until(lambda: here.pid("engine-0") != first, BACK_WITHIN_S)
    second = here.kill("engine-0")
    until(lambda: here.pid("engine-0") != second, BACK_WITHIN_S)
    until(here.ready, 2 * BACK_WITHIN_S)
    assert here.classify(3).status_code == 200


@pytest.mark.slow  # two seconds; so is tests/faults/test_kill.py
def test_under_load_nothing_hangs_whatever_is_killed(here: Cluster) -> None:
    until(here.ready, BACK_WITHIN_S)
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(crowd, here, 400, 16)
        for name in ("engine-0", "frontend-1", "engine-0", "frontend-0"):
            time.sleep(0.3)
            here.kill(name)
        statuses = load.result(timeout=120)
    assert set(statuses) <= {200, 503, None}
    assert statuses.count(None) <= 2 * 16  # at most those that a killed frontend was answering
    until(here.ready, BACK_WITHIN_S)
    assert crowd(here, 50) == [200] * 50


def test_two_engines_share_the_work_and_one_alone_goes_on(artifacts: Path) -> None:
    with cluster(artifacts, "--devices", "0,1", "--provider", "cpu", frontends=1) as here:
        until(lambda: set(here.pids()) == {"engine-0", "engine-1", "frontend-0"}, 5)
        assert crowd(here, 100) == [200] * 100
        here.kill("engine-0")
        time.sleep(0.1)
        assert here.ready()
        assert crowd(here, 50) == [200] * 50
