"""Callers who go on asking whatever happens, with images whose right answers are known, and what became of them."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple
from urllib.parse import urlsplit

from tests.faults.traps import GREYS
from tests.service.cluster.processes import grey

PATIENCE_S = 20.0  # longer than anything here takes: whoever waits so long waits for ever

HUNG, BROKEN, REFUSED = "no answer", "connection broken", "connection refused"
picture = cache(grey)


class Asked(NamedTuple):
    """One request: which grey, when on `time.monotonic`, and a status or one of the words above."""

    level: int
    started_s: float
    ended_s: float
    outcome: int | str
    label: str = ""

    @property
    def right(self) -> bool:
        """Whether it was answered, with its own answer."""
        return self.outcome == 200 and self.label == f"grey {self.level}"

    @property
    def wrong(self) -> bool:
        """Whether it was answered with what is not its answer."""
        return self.outcome == 200 and not self.right


def ask(url: str, level: int, patience_s: float = PATIENCE_S) -> Asked:
    """Have a grey classified over a connection of its own."""
    host, port = urlsplit(url).hostname or "", urlsplit(url).port
    started_s = time.monotonic()
    outcome: int | str
    label = ""
    connection = http.client.HTTPConnection(host, port, timeout=patience_s)
    try:
        connection.request("POST", "/classify", picture(level))
        response = connection.getresponse()
        outcome, label = response.status, label_of(response.status, response.read())
    except (OSError, http.client.HTTPException) as error:
        outcome = outcome_of(error)
    finally:
        connection.close()
    return Asked(level, started_s, time.monotonic(), outcome, label)


def outcome_of(error: OSError | http.client.HTTPException) -> str:
    """Return what became of a request that ended in an error of its connection."""
    if isinstance(error, TimeoutError):
        return HUNG
    return REFUSED if isinstance(error, ConnectionRefusedError) else BROKEN


def label_of(status: int, body: bytes) -> str:
    """Return the most probable label of an answer; nothing of any other."""
    if status != 200:
        return ""
    label: str = json.loads(body)["predictions"][0]["label"]
    return label


class Crowd:
    """Asks from several threads, without end."""

    def __init__(self, url: str, at_once: int) -> None:
        self.asked: list[Asked] = []
        self._url = url
        self._levels = itertools.cycle(GREYS)
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._go_on, daemon=True) for _ in range(at_once)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(2 * PATIENCE_S)
            assert not thread.is_alive(), "a request hangs"

    def outcomes(self, since_s: float = 0.0) -> Counter[int | str]:
        """Return how often each outcome came since then."""
        return Counter(one.outcome for one in list(self.asked) if one.started_s >= since_s)

    def answered_since(self, moment_s: float, requests: int = 20) -> bool:
        """Tell whether the latest that many requests, all begun after `moment_s`, were answered."""
        latest = [one for one in list(self.asked)[-requests:] if one.started_s >= moment_s]
        return len(latest) == requests and all(one.right for one in latest)

    def _go_on(self) -> None:
        while not self._over.is_set():
            one = ask(self._url, next(self._levels))
            self.asked.append(one)
            self._over.wait(0.005 if one.outcome == 200 else 0.05)  # whoever is refused does not hammer


@contextmanager
def crowding(url: str, at_once: int = 4) -> Iterator[Crowd]:
    """Keep callers asking as long as the block lasts."""
    crowd = Crowd(url, at_once)
    crowd.start()
    try:
        yield crowd
    finally:
        crowd.stop()


def at_the_same_time(url: str, levels: Sequence[int]) -> list[Asked]:
    """Ask for all `levels` at once; return their outcomes in that order."""
    results: list[Asked | None] = [None] * len(levels)
    barrier = threading.Barrier(len(levels))

    def one(index: int) -> None:
        barrier.wait()
        results[index] = ask(url, levels[index])

    threads = [threading.Thread(target=one, args=[index]) for index in range(len(levels))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * PATIENCE_S)
    assert None not in results, "a request hangs"
    return [result for result in results if result is not None]
