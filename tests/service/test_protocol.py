"""service.protocol: what a client receives is the same, in fewer packets."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn

from service import protocol
from service.protocol import OneWriteProtocol
from tests.service.apps import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    parts = []
    while scope["path"] != "/early":
        message = await receive()
        parts.append(len(message["body"]))
        if not message.get("more_body"):
            break
    if scope["path"] == "/parts":
        counted = ",".join(map(str, parts)).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": counted})
        return
    head = [(b"content-length", b"5")] if scope["path"] == "/plain" else []
    if scope["path"] == "/empty":
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": head})
    if scope["path"] == "/broken":
        raise RuntimeError("the application broke off")
    for part in (b"he", b"llo"):
        await send({"type": "http.response.body", "body": part, "more_body": True})
        await asyncio.sleep(0.1 if scope["path"] == "/slow" else 0)
    await send({"type": "http.response.body"})


@contextmanager
def running() -> Iterator[uvicorn.Server]:
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, http=OneWriteProtocol, ws="none", lifespan="off", log_level="critical")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            pass
        yield server
    finally:
        server.should_exit = True
        thread.join(10)


@contextmanager
def served() -> Iterator[int]:
    with running() as server:
        yield port_of(server)


def port_of(server: uvicorn.Server) -> int:
    port: int = server.servers[0].sockets[0].getsockname()[1]
    return port


def exchange(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(request)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/plain", b"200", b"hello"),
        ("/chunked", b"200", b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
        ("/empty", b"204", b""),
    ],
)
def test_answers_arrive_whole(path: str, status: bytes, body: bytes) -> None:
    with served() as port:
        head, _, rest = exchange(port, get(path)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status)
    assert rest == body


def test_head_and_body_arrive_in_one_packet() -> None:
    with served() as port, socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"GET /slow HTTP/1.1\r\nHost: test\r\n\r\n")
        first = connection.recv(65536)
    assert first.endswith(b"\r\n\r\n2\r\nhe\r\n")


def test_continue_is_sent_at_once() -> None:
    request = b"POST /plain HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    with served() as port, socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(request)
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"ab")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")


def test_a_head_whose_application_broke_off_is_not_held_back() -> None:
    with served() as port:
        assert exchange(port, get("/broken")).startswith(b"HTTP/1.1 200 OK")


def test_several_requests_on_one_connection_are_answered_in_order() -> None:
    with served() as port:
        keep = b"GET /plain HTTP/1.1\r\nHost: test\r\n\r\n"
        assert exchange(port, keep * 2 + get("/plain")).count(b"\r\n\r\nhello") == 3


def test_who_is_answered_before_it_has_sent_everything_hears_the_answer() -> None:
    """A plain close would reset the connection, and what was on the way would be gone."""
    body = bytes(100_000)
    head = f"POST /early HTTP/1.1\r\nConnection: close\r\nContent-Length: {10 * len(body)}\r\n\r\n".encode()
    with served() as port, socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(head)
        for _ in range(10):
            time.sleep(0.02)
            connection.sendall(body)
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")  # nobody listens any more
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert answer.endswith(b"0\r\n\r\n")


def test_whoever_does_not_stop_sending_is_not_heard_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_LINGER_S", 0.3)
    head = b"POST /early HTTP/1.1\r\nConnection: close\r\nContent-Length: 1000000000\r\n\r\n"
    with served() as port, socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(head)
        with suppress(OSError):  # reset, in the end
            for _ in range(500):
                connection.sendall(bytes(1000))
                time.sleep(0.01)
            pytest.fail("it is heard for ever")


def test_who_has_just_connected_when_the_server_stops_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_UNSENT_S", 2.0)
    request = b"POST /plain HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
    with running() as server, socket.create_connection(("127.0.0.1", port_of(server)), timeout=5) as connection:
        assert eventually(lambda: len(server.server_state.connections) == 1)
        server.should_exit = True
        assert eventually(lambda: not server.servers[0].is_serving())
        time.sleep(0.05)
        connection.sendall(request)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("size", [0, 100_000, 3_000_000])
def test_a_body_comes_whole_or_in_large_parts(size: int) -> None:
    with served() as port, socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(b"POST /parts HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size)
        for start in range(0, size, 50_000):  # as they arrive, one after the other
            connection.sendall(bytes(min(50_000, size - start)))
            time.sleep(0.001)
        answer = b""
        while received := connection.recv(65536):
            answer += received
    parts = [int(part) for part in answer.split(b"\r\n")[-4].split(b",")] if size else [0]
    assert sum(parts) == size
    assert len(parts) <= 1 + size // protocol._MUCH_BYTES
