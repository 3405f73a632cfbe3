"""Our load generator, a process of its own: clients in a closed loop, or arrivals that wait for nobody.

    python -m benchmarks.generator      says "ready", reads an order (a line of JSON), prints summaries (JSON)

A closed loop slows down with the server that it measures, so it cannot show overload. Arrivals at a rate can
(Schroeder et al. 2006, *Open Versus Closed: A Cautionary Tale*): their latency counts from when each was due,
whether or not the generator was punctual.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import httptools
import uvloop

from benchmarks.rates import percentile, rate

_UNANSWERED = 0  # instead of a status: the connection broke


@dataclass(frozen=True)
class Arrivals:
    """Poisson arrivals at a rate, during a stretch of the monotonic clock; those of a seed are always the same."""

    per_s: float
    from_s: float
    to_s: float
    seed: int = 0


@dataclass(frozen=True)
class Order:
    """What to do.

    Attributes:
        host, port, path: Where to post.
        bodies: Files, posted in turn.
        windows: Stretches of the monotonic clock to sum up, each [from, to]; the last one's end is the end.
        clients: How many in a closed loop.
        arrivals: Or, what arrives when.
        headers: Of each request, besides its length.
    """

    host: str
    port: int
    path: str
    bodies: list[str]
    windows: list[tuple[float, float]]
    clients: int = 0
    arrivals: tuple[Arrivals, ...] = ()
    headers: tuple[str, ...] = ("Content-Type: image/jpeg",)

    @classmethod
    def from_json(cls, text: str) -> Order:
        """Read what `to_json` wrote."""
        fields = json.loads(text)
        return cls(**{**fields, "arrivals": tuple(Arrivals(**stretch) for stretch in fields["arrivals"])})

    def to_json(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Answer:
    """One request's fate, in seconds of the monotonic clock."""

    due_s: float
    sent_s: float
    done_s: float
    status: int


@dataclass(frozen=True)
class Summary:
    """What was answered in one window; times in milliseconds, None where there was nothing to measure.

    Attributes:
        images_per_s: Answered with 200.
        p50_ms: Of these, from when they were due.
        p99_ms: Of these, from when they were due.
        refused_per_s: Answered with 429.
        refused_p99_ms: Of these, from when they were sent.
        failed: Answered otherwise, or not at all.
        late_p99_ms: How late the generator sent what it should have sent.
    """

    images_per_s: float
    p50_ms: float | None
    p99_ms: float | None
    refused_per_s: float
    refused_p99_ms: float | None
    failed: int
    late_p99_ms: float | None


def sum_up(answers: list[Answer], from_s: float, to_s: float) -> Summary:
    """Return the summary of one window."""
    within = sorted((a for a in answers if from_s <= a.done_s <= to_s), key=lambda a: a.done_s)
    good = [a for a in within if a.status == 200]
    refused = [a for a in within if a.status == 429]
    return Summary(
        images_per_s=rate([a.done_s for a in good]),
        p50_ms=_ms(50, [a.done_s - a.due_s for a in good]),
        p99_ms=_ms(99, [a.done_s - a.due_s for a in good]),
        refused_per_s=len(refused) / (to_s - from_s),
        refused_p99_ms=_ms(99, [a.done_s - a.sent_s for a in refused]),
        failed=len(within) - len(good) - len(refused),
        late_p99_ms=_ms(99, [a.sent_s - a.due_s for a in within]),
    )


def _ms(percent: float, seconds: list[float]) -> float | None:
    return percentile(seconds, percent) * 1e3 if seconds else None


class _Connection(asyncio.Protocol):
    """One keep-alive connection, with one request on it at a time."""

    def __init__(self) -> None:
        self.open = False
        self._answered: Callable[[int], None] | None = None
        self._parser = httptools.HttpResponseParser(self)

    def post(self, request: bytes, answered: Callable[[int], None]) -> None:
        self._answered = answered
        self._transport.write(request)

    def close(self) -> None:
        self._answered = None
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's, which is no subclass
        self.open = True

    def connection_lost(self, _: Exception | None) -> None:
        self.open = False
        self._end(_UNANSWERED)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self.open = self._parser.should_keep_alive()
        if not self.open:
            self._transport.close()
        self._end(self._parser.get_status_code())

    def _end(self, status: int) -> None:
        if self._answered is not None:
            answered, self._answered = self._answered, None
            answered(status)


class Generator:
    """Carries out one order."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._requests = itertools.cycle(list(_requests(order)))
        self._connections: list[_Connection] = []
        self._idle: list[_Connection] = []
        self._answers: list[Answer] = []
        self._ends_s = order.windows[-1][1]
        self._sending: set[asyncio.Task[None]] = set()

    async def run(self) -> list[Summary]:
        """Generate the load until the last window closes; return a summary for each."""
        for _ in range(self._order.clients):
            self._send(time.monotonic())
        for stretch in self._order.arrivals:
            await self._arrive(stretch)
        await asyncio.sleep(self._ends_s - time.monotonic())
        for task in self._sending:
            task.cancel()
        for connection in self._connections:
            connection.close()
        return [sum_up(self._answers, *window) for window in self._order.windows]

    async def _arrive(self, stretch: Arrivals) -> None:
        random_ = random.Random(stretch.seed)
        due_s = stretch.from_s + random_.expovariate(stretch.per_s)
        while due_s < stretch.to_s:
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            self._send(due_s)
            due_s += random_.expovariate(stretch.per_s)

    def _send(self, due_s: float) -> None:
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                self._post(connection, due_s)
                return
        task = asyncio.create_task(self._connect_and_post(due_s))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _connect_and_post(self, due_s: float) -> None:
        loop = asyncio.get_running_loop()
        sent_s = time.monotonic()
        try:
            _, connection = await loop.create_connection(_Connection, self._order.host, self._order.port)
        except OSError:
            self._answers.append(Answer(due_s, sent_s, time.monotonic(), _UNANSWERED))
            return
        self._connections.append(connection)
        self._post(connection, due_s)

    def _post(self, connection: _Connection, due_s: float) -> None:
        sent_s = time.monotonic()

        def answered(status: int) -> None:
            done_s = time.monotonic()
            self._answers.append(Answer(due_s, sent_s, done_s, status))
            self._idle.append(connection)
            if self._order.clients and done_s < self._ends_s:
                self._send(done_s)

        connection.post(next(self._requests), answered)


def _requests(order: Order) -> Iterator[bytes]:
    for path in order.bodies:
        body = Path(path).read_bytes()
        lines = (f"POST {order.path} HTTP/1.1", f"Host: {order.host}:{order.port}", *order.headers)
        yield "\r\n".join((*lines, f"Content-Length: {len(body)}", "", "")).encode() + body


def main() -> None:
    """Say "ready", carry out the order on standard input, write the summaries to standard output."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a connection for every request in flight
    print("ready", flush=True)
    order = Order.from_json(sys.stdin.readline())
    summaries: Any = uvloop.run(Generator(order).run())
    json.dump([asdict(summary) for summary in summaries], sys.stdout)


if __name__ == "__main__":
    main()
