"""The mixture of clients: good, bad, slow and vanishing ones, each with what it must be answered."""

from __future__ import annotations

import http.client
import random
import socket
import threading
import time
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

from tests.faults.crowd import PATIENCE_S, Asked, ask, label_of, outcome_of, picture
from tests.faults.traps import GREYS

# What no service can classify, and what it must say of it.
BAD: tuple[tuple[bytes, int], ...] = (
    (b"", 400),
    (b"not an image", 415),
    (picture(7)[:60], 422),
    (b"\xff\xd8\xff\xe0" + bytes(2000), 422),
)
VANISHED = "hung up"
_SLOWLY_S = 1.0  # how long a slow client takes to send its image


class Sent(NamedTuple):
    """One request: by which kind of client, what became of it, and which statuses are right."""

    kind: str
    asked: Asked
    right: frozenset[int]


class Mixture:
    """Clients of every kind, on threads, until told to stop.

    Attributes:
        sent: What became of each request.
    """

    def __init__(self, url: str, seed: int) -> None:
        self.sent: list[Sent] = []
        self._url = url
        self._over = threading.Event()
        kinds = [self._good] * 4 + [self._bad, self._slow, self._vanishing]
        self._threads = [
            threading.Thread(target=self._go_on, args=[kind, random.Random(f"{seed}-{number}")], daemon=True)
            for number, kind in enumerate(kinds)
        ]

    def start(self) -> None:
        """Let them come."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> bool:
        """Let no more come; return whether all those who had come have heard something."""
        self._over.set()
        limit_s = time.monotonic() + 2 * PATIENCE_S
        for thread in self._threads:
            thread.join(max(0.0, limit_s - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _go_on(self, kind: Callable[[random.Random], Sent], dice: random.Random) -> None:
        while not self._over.is_set():
            one = kind(dice)
            self.sent.append(one)
            self._over.wait(0.01 if one.asked.outcome in (200, *one.right) else 0.05)

    def _good(self, dice: random.Random) -> Sent:
        return Sent("good", ask(self._url, dice.choice(GREYS)), frozenset({200}))

    def _bad(self, dice: random.Random) -> Sent:
        body, status = dice.choice(BAD)
        return Sent("bad", self._exchange(body), frozenset({status}))

    def _slow(self, dice: random.Random) -> Sent:
        body = picture(level := dice.choice(GREYS))
        return Sent("slow", self._exchange(body, level, _SLOWLY_S), frozenset({200}))

    def _vanishing(self, dice: random.Random) -> Sent:
        started_s = time.monotonic()
        outcome: int | str = VANISHED
        try:
            with self._connected() as connection:
                connection.sendall(_head(len(body := picture(9))) + body[: dice.choice((0, 30, len(body)))])
                time.sleep(dice.random() * 0.02)
        except OSError as error:
            outcome = outcome_of(error)
        return Sent("vanishing", Asked(-1, started_s, time.monotonic(), outcome), frozenset())

    def _exchange(self, body: bytes, level: int = -1, over_s: float = 0.0) -> Asked:
        """Send `body` in pieces, over so many seconds, and read the answer."""
        started_s = time.monotonic()
        outcome: int | str
        label = ""
        try:
            with self._connected() as connection:
                connection.sendall(_head(len(body)))
                for at in range(0, len(body), piece := -(-len(body) // 5) or 1):
                    time.sleep(over_s / 5)
                    connection.sendall(body[at : at + piece])
                outcome, label = _answer(connection)
        except (OSError, http.client.HTTPException) as error:
            outcome = outcome_of(error)
        return Asked(level, started_s, time.monotonic(), outcome, label)

    def _connected(self) -> socket.socket:
        where = urlsplit(self._url)
        return socket.create_connection((where.hostname or "", where.port or 0), timeout=PATIENCE_S)


def _head(length: int) -> bytes:
    return f"POST /classify HTTP/1.1\r\nHost: soak\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n".encode()


def _answer(connection: socket.socket) -> tuple[int, str]:
    response = http.client.HTTPResponse(connection, method="POST")
    response.begin()
    return response.status, label_of(response.status, response.read())
