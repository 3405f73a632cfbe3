"""How many clients may be connected at a time, and who has to go when there are more."""

from __future__ import annotations

import resource
from typing import Protocol

_OWN_DESCRIPTORS = 64  # for listeners, pipes, models, logs


class Connection(Protocol):
    """A connection that can be ended from here."""

    def make_room(self) -> None:
        """End at once: somebody who is at work needs the place."""

    def turn_away(self) -> None:
        """End, and say that everybody else is at work."""


class Connections:
    """Keeps to a limit: whoever has kept the service waiting longest has to go, and never one that is being answered.

    So a thousand connections that send nothing, or half a request, keep nobody out who sends a whole one.

    Args:
        limit: Connections at a time.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open = 0
        self._waiting: dict[Connection, None] = {}  # for their clients, the longest first

    def opened(self, connection: Connection) -> None:
        """Count a new connection; it waits for its client's first request."""
        self._open += 1
        self._waiting[connection] = None
        if self._open > self._limit:
            longest = next(iter(self._waiting))
            del self._waiting[longest]
            if longest is connection:
                connection.turn_away()
            else:
                longest.make_room()

    def waits(self, connection: Connection) -> None:
        """Note that a connection waits for its client from now on."""
        self._waiting[connection] = None

    def works(self, connection: Connection) -> None:
        """Note that a connection's client waits for the service from now on."""
        self._waiting.pop(connection, None)

    def closed(self, connection: Connection) -> None:
        """Count a connection no more."""
        self._open -= 1
        self._waiting.pop(connection, None)


def raise_descriptor_limit() -> None:
    """Let this process and its children open as many files as the system lets them at most.

    The soft limit is low for the sake of programs that use select(2), which this is not.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def affordable(wanted: int) -> int:
    """Return how many connections there may be of `wanted`, by the descriptors of this process.

    Half of them: however many connections come at a time, they are accepted before others are closed for them.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, (soft - _OWN_DESCRIPTORS) // 2))
