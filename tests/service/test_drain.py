"""Stopping as an orchestrator stops a service: not ready first, then no more connections, then the end, in time."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT
from tests.service.api.greys import grey, top
from tests.service.apps import eventually
from tests.service.serving import MAINLY_SEVERAL, SHAPES, Service, environment, serving

both_shapes = pytest.mark.parametrize("shape", MAINLY_SEVERAL)
DELAY_S = 1.0


def status(service: Service, path: str) -> int:
    """Return the status of `path` on a new connection, 0 where nobody listens any more."""
    try:
        return httpx.get(f"{service.url}{path}").status_code
    except httpx.TransportError:
        return 0


def classify(service: Service, level: int) -> int:
    return top(httpx.post(f"{service.url}/classify", content=grey(level), timeout=10).json()["predictions"])


@both_shapes
def test_it_is_not_ready_first_and_then_answers_until_the_listener_closes(
    artifacts: Path, shape: tuple[str, ...]
) -> None:
    with serving(artifacts, "--drain-delay", f"{DELAY_S}", "--max-queue-delay-ms", "300", *shape) as service:
        last: list[int] = []
        begun_late = threading.Timer(DELAY_S - 0.15, lambda: last.append(classify(service, 77)))
        told_s = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        begun_late.start()
        assert eventually(lambda: status(service, "/readyz") == 503, 0.5)
        assert httpx.get(f"{service.url}/healthz").json()["status"] == "draining"
        while time.monotonic() < told_s + DELAY_S - 0.5:
            assert classify(service, 9) == 9
            assert (status(service, "/livez"), status(service, "/readyz")) == (200, 503)
        assert eventually(lambda: status(service, "/livez") == 0)
        closed_s = time.monotonic() - told_s
        begun_late.join(10)
        assert service.process.wait(10) == 0
    assert DELAY_S <= closed_s < DELAY_S + 1
    assert last == [77]  # in flight when the listener closed


@pytest.mark.parametrize(
    ("shape", "second"),
    [(SHAPES["one process"], signal.SIGINT), (SHAPES["two frontends"], signal.SIGTERM)],
    ids=["one process, SIGINT", "two frontends, SIGTERM"],
)
def test_a_second_signal_stops_at_once(artifacts: Path, shape: tuple[str, ...], second: signal.Signals) -> None:
    with serving(artifacts, "--drain-delay", "20", *shape, ends_with=1) as service:
        service.process.send_signal(signal.SIGTERM)
        assert eventually(lambda: status(service, "/readyz") == 503)
        service.process.send_signal(second)
        assert service.process.wait(2) == 1


@pytest.mark.slow  # as long as a stop may take
@both_shapes
def test_a_client_that_never_finishes_its_request_does_not_hold_the_end_up(
    artifacts: Path, shape: tuple[str, ...]
) -> None:
    limit_s = 2.5
    with serving(artifacts, "--drain-delay", "0.3", "--shutdown-timeout", f"{limit_s}", *shape) as service:
        host, _, port = service.url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(b"POST /classify HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\nabc")
            told_s = time.monotonic()
            service.process.send_signal(signal.SIGTERM)
            assert service.process.wait(10) == 0
            assert time.monotonic() - told_s < limit_s
            assert slow.recv(4096).startswith(b"HTTP/1.1 503")


@contextmanager
def loading_forever() -> Iterator[subprocess.Popen[str]]:
    code = (
        "import threading\nfrom service.app import create_app; from service.server import Server\n"
        "from service.settings import Settings; from tests.service.apps import FakeEngine\n"
        "class Slow(FakeEngine):\n"
        "    def warm_up(self, max_batch_size):\n"
        "        print('loading', flush=True)\n"
        "        threading.Event().wait()\n"
        "engine, settings = Slow(), Settings(port=0)\n"
        "Server(settings, create_app(settings, engine)).run_until_stopped()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_a_stop_while_the_model_loads_waits_for_nothing() -> None:
    with loading_forever() as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(2) == 0
