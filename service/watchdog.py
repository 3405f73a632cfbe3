"""A limit on how long a run of the engine may take: one that never ends must not be waited for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from service.errors import EngineLost

if TYPE_CHECKING:
    from collections.abc import Awaitable

T = TypeVar("T")

# The limit is counted in so many steps, each of which counts once however late it comes: a process or a machine that
# was suspended for a while has not been waiting for its engine meanwhile.
STEPS = 10


class Watchdog:
    """Ends the wait for what takes too long; what is awaited goes on, for nobody.

    One timer for all who wait, since a timer for each costs more than all the rest of this.

    Args:
        limit_s: How long something may take; it is given up to a tenth more.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._left: dict[asyncio.Task[Any], int] = {}  # steps, by who waits
        self._timer: asyncio.TimerHandle | None = None

    async def within(self, work: Awaitable[T]) -> T:
        """Return what `work` does, for a task that waits for nothing else here.

        Raises:
            EngineLost: it took longer than the limit.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - of a coroutine
        self._left[task] = STEPS + 1  # the first may come at once
        if self._timer is None:
            self._wait(task.get_loop())
        try:
            return await work
        except asyncio.CancelledError:
            if self._left[task] or task.uncancel():  # it is not, or not only, this one's doing
                raise
            raise EngineLost(f"the engine has not answered for {self._limit_s:g} s", retry_after_s=1.0) from None
        finally:
            del self._left[task]

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(self._limit_s / STEPS, self._step, loop)

    def _step(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        for task, left in self._left.items():
            if left == 1:
                task.cancel()
            self._left[task] = max(0, left - 1)
        if self._left:
            self._wait(loop)
