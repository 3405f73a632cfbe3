"""What a request says of itself: by when its answer is of use, and how it stands beside others."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.service.api.greys import grey, top
from tests.service.api.problems import assert_problem
from tests.service.apps import FakeEngine, Gate, eventually, rows_for, served


@pytest.mark.parametrize(
    ("header", "values"),
    [
        ("X-Request-Timeout-Ms", ["", "0", "-1", "1.5", "1e3", "soon", "\u0661\u0660\u0660", "1,2", "9" * 5000]),
        ("X-Request-Priority", ["", "6", "-1", "1.0", "high", "9" * 5000]),
    ],
)
@pytest.mark.parametrize("path", ["/classify", "/classify/batch"])
def test_what_makes_no_sense_is_422(url: str, path: str, header: str, values: list[str]) -> None:
    for value in values:
        detail = assert_problem(httpx.post(url + path, content=grey(1), headers={header: value.encode()}), 422)
        assert header in detail


@pytest.mark.parametrize("headers", [{"X-Request-Timeout-Ms": "60000"}, {"X-Request-Priority": "0"}])
def test_what_changes_nothing_changes_nothing(url: str, headers: dict[str, str]) -> None:
    answer = httpx.post(f"{url}/classify", content=grey(4), headers=headers)
    assert top(answer.raise_for_status().json()["predictions"]) == 4


@pytest.mark.parametrize(
    ("limit_ms", "asked_ms", "expected_s"), [(30_000, [200], 0.2), (200, [30_000], 0.2), (30_000, [9000, 200], 0.2)]
)
def test_a_client_can_only_shorten_the_limit(limit_ms: int, asked_ms: list[int], expected_s: float) -> None:
    gate = Gate()
    with served(FakeEngine(gate), request_timeout_ms=limit_ms) as url:
        headers = [("X-Request-Timeout-Ms", str(milliseconds)) for milliseconds in asked_ms]
        started_s = time.monotonic()
        assert_problem(httpx.post(f"{url}/classify", content=grey(1), headers=headers, timeout=20), 504)
        assert expected_s <= time.monotonic() - started_s < expected_s + 1
        gate.opened.set()


def test_the_deadline_holds_while_the_body_is_still_on_its_way(url: str) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    for sent in (b"", b"half of"):
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            head = b"POST /classify HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\nX-Request-Timeout-Ms: 200\r\n\r\n"
            started_s = time.monotonic()
            connection.sendall(head + sent)
            assert connection.recv(4096).startswith(b"HTTP/1.1 504")
            assert 0.2 <= time.monotonic() - started_s < 1.2


def test_the_deadline_holds_while_the_image_waits_to_be_decoded() -> None:
    gate = Gate()
    engine = FakeEngine(gate)
    with served(engine, decode_threads=0) as url:  # one kind of thread decodes and runs
        asking = []
        for _ in range(16):  # more than there are threads: some cannot even be decoded
            asking.append(threading.Thread(target=httpx.post, args=[f"{url}/classify"], kwargs={"content": grey(1)}))
            asking[-1].start()
        assert eventually(lambda: sum(engine.batches) > 0)
        started_s = time.monotonic()
        headers = {"X-Request-Timeout-Ms": "200"}
        assert_problem(httpx.post(f"{url}/classify", content=grey(1), headers=headers, timeout=20), 504)
        assert time.monotonic() - started_s < 1.2
        gate.opened.set()
        for thread in asking:
            thread.join(10)


def test_who_matters_more_is_next_though_others_came_first() -> None:
    gate = Gate()
    seen: list[int] = []

    def infer(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        seen.extend(round(float(image.mean())) for image in images)
        return gate(images) if len(seen) == 1 else rows_for(images)

    with served(FakeEngine(infer), max_batch_size=1) as url:
        asking = []
        for depth, (level, priority) in enumerate([(0, "3"), (10, "5"), (11, "0"), (12, "1")]):
            kwargs = {"content": grey(level), "headers": {"X-Request-Priority": priority}}
            asking.append(threading.Thread(target=httpx.post, args=[f"{url}/classify"], kwargs=kwargs))
            asking[-1].start()
            assert eventually(lambda depth=depth: httpx.get(f"{url}/healthz").json()["queue_depth"] == depth)
            assert eventually(lambda: seen == [0])
        # Decoded after the others, by the one thread that decodes: by now they are all in line.
        assert httpx.post(f"{url}/classify", content=b"no image").status_code == 415
        gate.opened.set()
        for thread in asking:
            thread.join(10)
    assert seen == [0, 12, 11, 10]
