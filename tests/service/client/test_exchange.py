"""What the client does when it is refused, hears nothing, or hears from somebody else."""

from __future__ import annotations

import asyncio
import email.utils
import time
from collections.abc import Callable, Iterator, Sequence

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from service.client import (
    AsyncClient,
    Classification,
    Client,
    DeadlineExceeded,
    EngineFailed,
    NotFound,
    QueueFull,
    ServiceError,
    UnexpectedAnswer,
    Unreachable,
)
from tests.project.serving import free_port
from tests.service.api.greys import grey
from tests.service.apps import FakeEngine, rows_for, served
from tests.service.client.scripted import CLASSIFIED, Reply, problem, scripted

Ask = Callable[..., Classification]
BODY = b"image"


def ask(url: str, **options: object) -> Classification:
    with Client(url, **options) as client:  # type: ignore[arg-type]
        return client.classify(BODY)


def ask_from_a_loop(url: str, **options: object) -> Classification:
    async def main() -> Classification:
        async with AsyncClient(url, **options) as client:  # type: ignore[arg-type]
            return await client.classify(BODY)

    return asyncio.run(main())


both = pytest.mark.parametrize("ask", [ask, ask_from_a_loop])


@both
def test_a_request_says_who_asks_for_what_and_how_long_there_is(ask: Ask) -> None:
    with scripted(CLASSIFIED) as (url, calls):
        assert ask(f"{url}/", api_key="key", model="m", version="2", timeout_s=5).top.label == "seven"
    (call,) = calls
    assert call.path == "/classify?model=m&version=2"
    assert call.body == BODY
    assert call.headers["Authorization"] == "Bearer key"
    assert 4000 < int(call.headers["X-Request-Timeout-Ms"]) <= 5000


@pytest.mark.parametrize(
    ("ask", "status", "title"),
    [
        pytest.param(ask, 429, "Queue full", marks=pytest.mark.slow),
        (ask_from_a_loop, 503, "Service unavailable"),
    ],
)
def test_it_comes_back_when_it_was_told_to_and_says_how_long_there_still_is(ask: Ask, status: int, title: str) -> None:
    with scripted(problem(status, title, Retry_After="1"), CLASSIFIED) as (url, calls):
        ask(url, timeout_s=10)
    first, second = calls
    assert 1.0 <= second.at_s - first.at_s < 1.5
    assert int(second.headers["X-Request-Timeout-Ms"]) <= 9000


@pytest.mark.slow  # dates are of whole seconds, and it has to wait for one of them
def test_a_date_to_come_back_at_is_understood() -> None:
    date = email.utils.formatdate(time.time() + 2, usegmt=True)  # whole seconds: one at least
    with scripted(problem(503, "Service unavailable", Retry_After=date), CLASSIFIED) as (url, calls):
        ask(url)
    assert 0.9 <= calls[1].at_s - calls[0].at_s < 2.6


@both
def test_it_does_not_wait_for_what_would_come_too_late(ask: Ask) -> None:
    with scripted(problem(429, "Queue full", Retry_After="60")) as (url, calls):
        started_s = time.monotonic()
        with pytest.raises(QueueFull) as refused:
            ask(url, timeout_s=5)
    assert time.monotonic() - started_s < 2
    assert (refused.value.retry_after_s, refused.value.request_id, len(calls)) == (60, "abc", 1)


def kinds(kind: type[ServiceError] = ServiceError) -> Iterator[type[ServiceError]]:
    for child in kind.__subclasses__():
        if child.__module__ == "service.errors":
            yield child
            yield from kinds(child)


@pytest.mark.parametrize("kind", list(kinds()), ids=lambda kind: kind.__name__)
def test_each_of_the_services_errors_arrives_as_what_it_was(kind: type[ServiceError]) -> None:
    """Or, where the service tells two of them in the same words, as the more general."""
    with scripted(problem(kind.status, kind.title, "told so")) as (url, calls), pytest.raises(ServiceError) as raised:
        ask(url)
    assert issubclass(kind, type(raised.value))
    assert (raised.value.status, raised.value.title, raised.value.detail) == (kind.status, kind.title, "told so")
    assert len(calls) == 1  # nothing said that coming back makes sense


@both
@pytest.mark.parametrize("lost", [Reply(0, None), Reply(502, b"<h1>Bad gateway</h1>"), Reply(503, b"")])
def test_what_was_lost_on_the_way_is_sent_again(ask: Ask, lost: Reply) -> None:
    with scripted(lost, lost, CLASSIFIED) as (url, calls):
        assert ask(url).top.label == "seven"
    assert len(calls) == 3
    with scripted(lost) as (url, calls), pytest.raises((Unreachable, UnexpectedAnswer)):
        ask(url, max_attempts=2)
    assert len(calls) == 2


@both
def test_nobody_there_is_unreachable(ask: Ask) -> None:
    with pytest.raises(Unreachable, match="ConnectError"):
        ask(f"http://127.0.0.1:{free_port()}", max_attempts=2)


@both
@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b"<html>a router's login</html>"),
        Reply(200, {"predictions": []}),
        Reply(200, []),
        Reply(418, b"teapot"),
        Reply(301, b"", {"Location": "http://127.0.0.1:9/"}),
        problem(405, "Method Not Allowed"),
    ],
)
def test_an_answer_that_is_not_the_services_is_unexpected(ask: Ask, reply: Reply) -> None:
    with scripted(reply) as (url, calls), pytest.raises(UnexpectedAnswer):
        ask(url)
    assert len(calls) == 1


@both
def test_it_gives_up_when_its_time_is_over(ask: Ask) -> None:
    with scripted(CLASSIFIED._replace(after_s=1.5)) as (url, _):
        started_s = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            ask(url, timeout_s=0.3)
        assert 0.25 < time.monotonic() - started_s < 1.2


def test_a_path_that_is_not_there_is_not_found() -> None:
    with served(FakeEngine()) as url, Client(f"{url}/elsewhere") as client, pytest.raises(NotFound):
        client.classify(grey(1))


@pytest.mark.slow  # whoever is refused comes again after a second: see api/test_overload.py, too
def test_who_comes_back_when_told_is_answered_at_twice_the_load_that_there_is_room_for() -> None:
    """Of a service with room for four images, sixteen callers at once: each is answered, many after a refusal."""

    def slow(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        time.sleep(0.05)
        return rows_for(images)

    with served(FakeEngine(slow, cost_s=0.05), max_batch_size=2, queue_capacity=4, max_images_per_request=4) as url:
        with Client(url, timeout_s=30) as client:
            outcomes = list(client.classify_many([grey(level) for level in range(48)], concurrency=16))
        assert [outcome.unwrap().top.index for outcome in outcomes] == list(range(48))
        assert 'outcome="rejected"' in httpx.get(f"{url}/metrics").text


def test_a_broken_engine_is_said_to_be_one() -> None:
    def raises(_: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        raise RuntimeError("broken")

    with served(FakeEngine(raises), log_level="error") as url, Client(url) as client:
        with pytest.raises(EngineFailed) as failed:
            client.classify(grey(1))
        assert failed.value.request_id
