"""Bodies that are too long, end early, never end, or lie about their length: over a bare socket."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import pytest

from tests.service.api.greys import grey, in_base64, uploads
from tests.service.api.problems import assert_problem
from tests.service.conftest import LIMITS
from tests.service.serving import Service

LIMIT = LIMITS["max_body_bytes"]


@contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    host, _, port = urlsplit(url).netloc.partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        yield connection


def status_of(connection: socket.socket) -> int:
    """Read one whole answer; return its status, and check that a failure is a problem document."""
    reader = connection.makefile("rb")
    status = int(reader.readline().split()[1])
    headers = {}
    while (line := reader.readline().strip()) != b"":
        name, _, value = line.partition(b":")
        headers[name.lower()] = value.strip()
    body = reader.read(int(headers[b"content-length"]))
    if status >= 400:
        assert headers[b"content-type"] == b"application/problem+json"
        assert json.loads(body)["status"] == status
    return status


def head(*lines: str) -> bytes:
    return "\r\n".join(["POST /classify HTTP/1.1", "Host: service", *lines, "", ""]).encode()


def test_a_body_over_the_limit_is_413_in_every_envelope(url: str) -> None:
    big = bytes(LIMIT)
    assert_problem(httpx.post(f"{url}/classify", content=big + b"\0"), 413)
    assert_problem(httpx.post(f"{url}/classify", files=uploads(big)), 413)
    assert_problem(httpx.post(f"{url}/classify", json={"image": in_base64(big)}), 413)
    assert_problem(httpx.post(f"{url}/classify/batch", files=uploads(big[: LIMIT // 2], big[: LIMIT // 2])), 413)


def test_a_body_of_just_the_limit_is_read(url: str) -> None:
    image = grey(77, "JPEG")  # what follows its end is not looked at
    padded = image + bytes(LIMIT - len(image))
    assert httpx.post(f"{url}/classify", content=padded).json()["predictions"][0]["index"] == 77


def test_a_declared_length_over_the_limit_is_refused_before_the_body_comes(url: str) -> None:
    with connected(url) as connection:
        connection.sendall(head(f"Content-Length: {LIMIT + 1}"))
        assert status_of(connection) == 413


def test_a_client_that_asks_first_is_not_told_to_go_on_with_a_body_over_the_limit(url: str) -> None:
    with connected(url) as connection:
        connection.sendall(head(f"Content-Length: {LIMIT + 1}", "Expect: 100-continue"))
        assert status_of(connection) == 413  # and not 100
    with connected(url) as connection:
        body = grey(5)
        connection.sendall(head(f"Content-Length: {len(body)}", "Expect: 100-continue"))
        assert connection.recv(64) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert status_of(connection) == 200


def test_a_body_without_a_declared_length_is_refused_as_soon_as_it_is_over_the_limit(url: str) -> None:
    chunk = b"8000\r\n" + bytes(0x8000) + b"\r\n"
    with connected(url) as connection:
        connection.sendall(head("Transfer-Encoding: chunked"))
        for _ in range(LIMIT // 0x8000 + 1):  # and never ends
            connection.sendall(chunk)
        assert status_of(connection) == 413


@pytest.mark.parametrize("length", ["-1", "abc", "1e3", "0x10"])
def test_a_length_that_is_not_a_number_is_a_bad_request(url: str, length: str) -> None:
    with connected(url) as connection:
        connection.sendall(head(f"Content-Length: {length}") + b"body")
        assert connection.recv(64).startswith(b"HTTP/1.1 400 ")


def test_a_body_longer_than_declared_is_read_as_far_as_declared(url: str) -> None:
    with connected(url) as connection:
        body = grey(5)
        connection.sendall(head(f"Content-Length: {len(body)}") + body)
        assert status_of(connection) == 200
        connection.sendall(b"and more of it\r\n\r\n")
        assert connection.recv(64).startswith(b"HTTP/1.1 400 ")  # the rest is not a request


def test_a_client_that_leaves_in_the_middle_of_its_body_is_nothing_to_log(server: Service) -> None:
    before = len(server.log)
    for _ in range(5):
        with connected(server.url) as connection:
            connection.sendall(head("Content-Length: 100000") + bytes(50_000))
    assert httpx.post(f"{server.url}/classify", content=grey(5)).status_code == 200
    # But for a frontend that was still starting.
    assert [line for line in server.log[before:].splitlines() if " INFO " not in line] == []
    assert httpx.get(f"{server.url}/healthz").json()["queue_depth"] == 0
