"""Clients that ask without a pause and lose sight of nothing: each request is answered, or counted as lost."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from itertools import count

_ANSWER_WITHIN_S = 60


class Callers:
    """Threads that each have one request to `/classify` in flight, on a connection of its own.

    Args:
        port: Of 127.0.0.1, where they ask.
        images: What they send, in turn.
        clients: How many there are.
    """

    def __init__(self, port: int, images: Sequence[bytes], clients: int) -> None:
        self._port = port
        self._images = images
        self._lock = threading.Lock()
        self._answered = threading.Condition(self._lock)
        self._outcomes: Counter[str] = Counter()
        self._versions: list[str] = []  # that answered, one after the other
        self._gap_s = 0.0
        self._last_s = time.monotonic()
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(start,), daemon=True) for start in range(clients)]
        for thread in self._threads:
            thread.start()

    def go_on_for(self, requests: int) -> None:
        """Return once so many requests more have ended.

        Raises:
            RuntimeError: they did not.
        """
        with self._answered:
            goal = self._outcomes.total() + requests
            if not self._answered.wait_for(lambda: self._outcomes.total() >= goal, _ANSWER_WITHIN_S):
                raise RuntimeError(f"no {requests} requests ended within {_ANSWER_WITHIN_S} s: {self._outcomes}")

    def stop(self) -> None:
        """Let what is in flight end, and send nothing more."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def summary(self) -> dict[str, object]:
        """Say what became of all requests.

        Returns:
            `requests`, how many of them were `lost`, all `outcomes` (a status, or what broke), the `first_version` of
            the model that answered and the `last_versions` (of a handful of answers), and the `longest_gap_ms` between
            two answers.
        """
        with self._lock:
            total, answered = self._outcomes.total(), self._outcomes["200"]
            return {
                "requests": total,
                "lost": total - answered,
                "outcomes": dict(self._outcomes),
                "first_version": self._versions[0] if self._versions else None,
                "last_versions": sorted(set(self._versions[-4:])),
                "longest_gap_ms": round(self._gap_s * 1e3),
            }

    def _ask(self, start: int) -> None:
        for turn in count(start):
            if self._stopped.is_set():
                return
            outcome, version = self._once(self._images[turn % len(self._images)])
            with self._answered:
                self._outcomes[outcome] += 1
                if version is not None:
                    now_s = time.monotonic()
                    self._gap_s, self._last_s = max(self._gap_s, now_s - self._last_s), now_s
                    self._versions.append(version)
                self._answered.notify_all()

    def _once(self, image: bytes) -> tuple[str, str | None]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_ANSWER_WITHIN_S)
        try:
            connection.request("POST", "/classify", image)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__, None
        finally:
            connection.close()
        version = json.loads(body)["model"]["version"] if response.status == 200 else None
        return str(response.status), version
