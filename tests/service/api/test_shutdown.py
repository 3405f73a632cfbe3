"""A stop in the middle of work: everybody is told something, and the server ends."""

from __future__ import annotations

import threading
import time

import httpx
import pytest

from tests.service.api.greys import grey
from tests.service.api.problems import assert_problem
from tests.service.apps import FakeEngine, Gate, eventually, served


def test_an_engine_that_hangs_keeps_neither_its_callers_nor_the_server_waiting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate = Gate()
    engine = FakeEngine(gate)
    answers: list[httpx.Response] = []

    def ask(url: str) -> None:
        answers.append(httpx.post(f"{url}/classify", content=grey(1), timeout=20))

    with served(engine, shutdown_timeout_s=1) as url:
        asking = [threading.Thread(target=ask, args=[url]) for _ in range(3)]
        for thread in asking:
            thread.start()
        assert eventually(
            lambda: sum(engine.batches) + httpx.get(f"{url}/healthz").json()["queue_depth"] == len(asking)
        )
        started = time.monotonic()
    assert time.monotonic() - started < 2
    for thread in asking:
        thread.join(10)
    gate.opened.set()
    assert len(answers) == 3
    for answer in answers:
        assert "stopped" in assert_problem(answer, 503)
    assert "not waited for" in caplog.text
    assert "Traceback" not in caplog.text
