"""service.patience: clients that are slow, silent, or talk without end, and a thousand of them at once."""

from __future__ import annotations

import logging
import resource
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import pytest

from tests.conftest import missing
from tests.service.api.greys import grey, top
from tests.service.apps import FakeEngine, Gate, eventually, served
from tests.service.serving import SHAPES, serving

HEAD_S, BODY_S, IDLE_S = 0.4, 0.5, 0.6
GET = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /classify HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    limits = {"header_timeout_s": HEAD_S, "body_timeout_s": BODY_S, "keep_alive_timeout_s": IDLE_S}
    with served(FakeEngine(), max_body_bytes=300_000, **limits) as url:
        yield url


def connect(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def rest(connection: socket.socket) -> bytes:
    """Return all that comes until the other side disconnects."""
    received = b""
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except ConnectionResetError:
        pass
    return received


def drip(connection: socket.socket, byte: bytes, until: threading.Event) -> None:
    """Send a byte now and again, as who wants to hold a connection does."""
    try:
        while not until.wait(0.05):
            connection.sendall(byte)
    except OSError:
        pass


# What is sent, what is dripped after it, how long that is put up with, and what status it is told.
SLOW: list[tuple[bytes, bytes, float, bytes]] = [
    (b"", b"", HEAD_S, b""),
    (b"", b"\r\n", HEAD_S, b"408"),
    (b"GET /livez HTTP/1.1\r\nHost", b"", HEAD_S, b"408"),
    (b"GET /livez HTTP/1.1\r\nHost: ", b"a", HEAD_S, b"408"),
    (POST + b"Content-Length: 99\r\n\r\n", b"", BODY_S, b"408"),
    (POST + b"Content-Length: 99\r\n\r\nabc", b"x", BODY_S, b"408"),
    (CHUNKED, b"", BODY_S, b"408"),
    (CHUNKED + b"5\r\nab", b"", BODY_S, b"408"),
    (POST + b"Content-Length: 999999\r\n\r\nabc", b"x", BODY_S, b"413"),  # answered early: the rest is not awaited
]


def stall(url: str, sent: bytes, dripped: bytes) -> tuple[bytes, float]:
    """Send, drip, and wait to be disconnected; return what was said and after how many seconds."""
    over = threading.Event()
    with closing(connect(url)) as connection:
        started_s = time.monotonic()
        connection.sendall(sent)
        if dripped:
            threading.Thread(target=drip, args=[connection, dripped, over]).start()
        answer = rest(connection)
        took_s = time.monotonic() - started_s
        over.set()
    return answer, took_s


@pytest.fixture(scope="module")
def stalled(url: str) -> Iterator[dict[tuple[bytes, bytes], Future[tuple[bytes, float]]]]:
    """What becomes of each of `SLOW`, by what it sends: all at once, since each takes its time."""
    with ThreadPoolExecutor(len(SLOW)) as pool:
        yield {(sent, dripped): pool.submit(stall, url, sent, dripped) for sent, dripped, *_ in SLOW}


@pytest.mark.parametrize(("sent", "dripped", "within_s", "status"), SLOW)
def test_who_is_slow_is_told_so_and_disconnected(
    stalled: dict[tuple[bytes, bytes], Future[tuple[bytes, float]]],
    sent: bytes,
    dripped: bytes,
    within_s: float,
    status: bytes,
) -> None:
    answer, took_s = stalled[sent, dripped].result()
    assert within_s * 0.9 <= took_s < within_s + 1
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status if status else b"")
    if status:
        assert b"content-type: application/problem+json" in head
        assert b'"status": ' + status in body


@pytest.mark.parametrize("dripped", [b"", b"\r\n"])
def test_who_has_been_answered_and_asks_nothing_more_is_disconnected(url: str, dripped: bytes) -> None:
    over = threading.Event()
    with closing(connect(url)) as connection:
        connection.sendall(GET)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        started_s = time.monotonic()
        if dripped:  # empty lines, which belong to no request yet
            threading.Thread(target=drip, args=[connection, dripped, over]).start()
        rest(connection)
        assert time.monotonic() - started_s < IDLE_S + 1
        over.set()


@pytest.mark.parametrize(
    ("beginning", "endless"),
    [
        (b"GET /", b"a" * 1000),
        (b"GET / HTTP/1.1\r\nX-Long: ", b"a" * 1000),
        (b"GET / HTTP/1.1\r\n", b"X-Many: a\r\n" * 100),
        (CHUNKED, b"5;" + b"a=b;" * 250),
        (CHUNKED + b"0\r\n", b"X-Trailer: a\r\n" * 100),
        (CHUNKED + b"0\r\nX-Trailer: ", b"a" * 1000),
    ],
)
def test_who_talks_without_end_beside_the_body_is_stopped_before_it_fills_the_memory(
    url: str, beginning: bytes, endless: bytes
) -> None:
    with closing(connect(url)) as connection:
        connection.sendall(beginning)
        sent = 0
        try:
            while sent < 8_000_000:
                sent += connection.send(endless)
        except (ConnectionError, TimeoutError):
            pass
        assert sent < 8_000_000  # what the kernel holds on the way, and not more


def test_too_large_a_head_is_431_and_what_is_not_http_400_and_neither_is_in_the_log(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    asked = {
        b"GET / HTTP/1.1\r\nX-Long: " + b"a" * 70_000: b"431",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03": b"400",  # TLS
        b"GET / HTTP/9.9\r\n\r\n": b"400",
        POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n": b"400",  # RFC 9112, 6.3: smuggling
        CHUNKED + b"zz\r\n": b"400",
        POST + b"Content-Length: -1\r\n\r\n": b"400",
    }
    with caplog.at_level(logging.INFO):
        for sent, status in asked.items():
            with closing(connect(url)) as connection:
                connection.sendall(sent)
                answer = rest(connection)
            assert answer.startswith(b"HTTP/1.1 " + status), sent[:40]
            assert b"application/problem+json" in answer
        with closing(connect(url)) as connection:
            connection.sendall(GET[:-2] + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    assert not [record for record in caplog.records if record.name.startswith(("uvicorn", "service"))]


def test_who_does_not_take_the_answer_in_is_disconnected(url: str) -> None:
    script = next(part for part in httpx.get(f"{url}/docs").text.split('"') if part.endswith("bundle.js"))
    whole = len(httpx.get(url + script).content)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(10)
        host, _, port = url.removeprefix("http://").partition(":")
        connection.connect((host, int(port)))
        ask = f"GET {script} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        connection.sendall(ask * 8)  # more than the kernel would hold for it
        time.sleep(BODY_S * 3)  # what the test is about: it reads nothing
        assert len(rest(connection)) < whole * 8


def test_who_is_only_unhurried_is_answered(url: str) -> None:
    image = grey(7)
    whole = POST + b"Content-Length: %d\r\n\r\n" % len(image) + image
    with closing(connect(url)) as connection:
        for _ in range(3):  # together they take longer than any one may
            for part in (whole[:30], whole[30:90], whole[90:120], whole[120:]):
                connection.sendall(part)
                time.sleep(0.1)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_who_waits_for_the_service_is_not_called_slow() -> None:
    gate = Gate()
    with served(FakeEngine(gate), header_timeout_s=0.1, body_timeout_s=0.1, keep_alive_timeout_s=0.1) as url:
        answers: list[int] = []
        asking = threading.Thread(
            target=lambda: answers.append(httpx.post(f"{url}/classify", content=grey(1)).status_code)
        )
        asking.start()
        time.sleep(0.5)
        gate.opened.set()
        asking.join(10)
    assert answers == [200]


def test_an_answer_under_way_is_not_broken_into_by_what_comes_after_its_request() -> None:
    image = grey(9)
    whole = POST + b"Content-Length: %d\r\n\r\n" % len(image) + image
    for after in (b"GET /half", b"\x00garbage\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000):
        gate = Gate()
        engine = FakeEngine(gate)
        with served(engine, header_timeout_s=0.2) as url, closing(connect(url)) as connection:
            connection.sendall(whole)
            assert eventually(lambda engine=engine: engine.batches == [1])
            connection.sendall(after)
            time.sleep(0.4)
            gate.opened.set()
            answer = rest(connection)
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.count(b"HTTP/1.1") == 1


# --- many at once ---

HALF_OPEN: list[Callable[[int], bytes]] = [
    lambda _: b"",
    lambda _: b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Half:",
    lambda _: POST + b"Content-Length: 100000\r\n\r\nhalf of it",
]


def hold(url: str, connections: int, stack: ExitStack) -> None:
    """Open connections that never come to anything."""
    for number in range(connections):
        connection = stack.enter_context(connect(url))
        connection.sendall(HALF_OPEN[number % 3](number))


def test_whoever_has_kept_it_waiting_longest_goes_and_nobody_who_is_being_answered() -> None:
    gate = Gate()
    engine = FakeEngine(gate)
    with served(engine, max_connections=20) as url, ExitStack() as stack:
        answers: list[int] = []
        asking = [
            threading.Thread(target=lambda: answers.append(httpx.post(f"{url}/classify", content=grey(1)).status_code))
            for _ in range(15)
        ]
        for thread in asking:
            thread.start()
        assert eventually(
            lambda: httpx.get(f"{url}/healthz").json()["queue_depth"] + sum(engine.batches) == len(asking)
        )
        for _ in range(5):
            hold(url, 20, stack)
            assert httpx.get(f"{url}/livez").status_code == 200
        gate.opened.set()
        for thread in asking:
            thread.join(10)
    assert answers == [200] * len(asking)


def test_when_everybody_is_being_answered_who_comes_is_told_to_come_again() -> None:
    gate = Gate()
    engine = FakeEngine(gate)
    with served(engine, max_connections=4) as url, ExitStack() as stack:
        image = grey(1)
        for _ in range(4):
            connection = stack.enter_context(connect(url))
            connection.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(image) + image)
        assert eventually(lambda: connect_status(url) == b"HTTP/1.1 503")
        gate.opened.set()


def connect_status(url: str) -> bytes:
    with closing(connect(url)) as connection:
        connection.sendall(GET)
        return rest(connection)[:12] if connection else b""


@pytest.mark.parametrize(
    ("shape", "descriptors"),
    [
        ("one process", None),
        pytest.param("one process", 256, marks=pytest.mark.slow),
        ("two frontends", 256),
    ],
)
def test_a_thousand_half_open_connections_stop_nobody(artifacts: Path, shape: str, descriptors: int | None) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2048:
        missing("this test may not open a thousand connections")
    if descriptors and shutil.which("prlimit") is None:
        missing("there is no prlimit")
    through = ["prlimit", f"--nofile={descriptors}:{descriptors}"] if descriptors else []
    with serving(artifacts, *SHAPES[shape], through=through) as service, ExitStack() as stack:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        client = stack.enter_context(httpx.Client(limits=httpx.Limits(max_keepalive_connections=0)))
        for _ in range(10):
            hold(service.url, 100, stack)
            for level in range(5):
                started_s = time.monotonic()
                assert client.get(f"{service.url}/healthz").status_code == 200
                answer = client.post(f"{service.url}/classify", content=grey(level))
                assert top(answer.raise_for_status().json()["predictions"]) == level
                assert time.monotonic() - started_s < 1
