"""Who is inside: being answered, and not to be shut out."""

from __future__ import annotations

import asyncio


class Visitors:
    """Counts those who are inside a block, also inside one another, for who has to wait until nobody is."""

    __slots__ = ("_inside", "_left")

    def __init__(self) -> None:
        self._inside = 0
        self._left = asyncio.Event()

    def __enter__(self) -> None:
        self._inside += 1

    def __exit__(self, *_: object) -> None:
        self._inside -= 1
        if not self._inside:
            self._left.set()

    async def gone(self) -> None:
        """Return once nobody is inside."""
        while self._inside:
            self._left.clear()
            await self._left.wait()
