"""The frontends, as those who have to know what is served, and when all of them do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from service.cluster.control import Served

if TYPE_CHECKING:
    from service.cluster.hall import Hall
    from service.cluster.post import Post
    from service.registry import Registry


class Audience:
    """Tells frontends of each change of a registry.

    Each change waits for the last one's last frontend, so that one that stands still is told little until it is
    replaced: more than the pipe to it holds would make the supervisor stand still as well.

    Args:
        registry: What is served.
    """

    def __init__(self, registry: Registry[Hall]) -> None:
        self._registry = registry
        self._members: set[Post] = set()
        self._behind: set[Post] = set()  # those that have not said yet that they follow
        self._agreed = asyncio.Event()
        self._number = 0  # of the latest change

    def admit(self, frontend: Post) -> None:
        """Keep a frontend informed from now on, until its process has ended."""
        self._members.add(frontend)
        if self._number:  # else nothing is complete yet
            self._tell(frontend)

    def gone(self, frontend: Post) -> None:
        """Note that the process of a frontend has ended."""
        self._members.discard(frontend)
        self._caught_up(frontend)

    def follows(self, frontend: Post, number: int) -> None:
        """Note that a frontend goes by change `number`."""
        if number == self._number:
            self._caught_up(frontend)

    async def tell(self) -> None:
        """Tell every frontend what is served now; return once each goes by it."""
        self._number += 1
        for frontend in self._members:
            self._tell(frontend)
        await self._agreed.wait()

    def _tell(self, frontend: Post) -> None:
        self._behind.add(frontend)
        self._agreed.clear()
        for hall in self._registry.models:
            hall.admit(frontend)
        served = tuple((wanted, hall.number) for wanted, hall in self._registry.served.items())
        frontend.send(Served(self._number, served))

    def _caught_up(self, frontend: Post) -> None:
        self._behind.discard(frontend)
        if not self._behind:
            self._agreed.set()
