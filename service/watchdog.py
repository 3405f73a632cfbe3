"""A limit on how long a run of the engine may take: one that never ends must not be waited for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from service.errors import EngineLost

if TYPE_CHECKING:
    from types import TracebackType

# The limit is counted in so many steps, each of which counts once however late it comes: a process or a machine that
# was suspended for a while has not been waiting for its engine meanwhile.
STEPS = 10


class Watchdog:
    """Ends the wait for what its block awaits once the limit has passed; what is awaited goes on, for nobody.

    Args:
        limit_s: How long the block may take.

    Raises:
        EngineLost: it took longer.
    """

    __slots__ = ("_cancelling", "_left", "_limit_s", "_step_s", "_task", "_timer")

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._step_s = limit_s / STEPS
        self._left = STEPS

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("to be used in a task")
        self._task = task
        self._cancelling = task.cancelling()
        self._timer = task.get_loop().call_later(self._step_s, self._step)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if not self._left and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise EngineLost(f"the engine has not answered for {self._limit_s:g} s", retry_after_s=1.0) from None

    def _step(self) -> None:
        self._left -= 1
        if self._left:
            self._timer = self._task.get_loop().call_later(self._step_s, self._step)
        else:
            self._task.cancel()
