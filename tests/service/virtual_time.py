"""An event loop whose clock jumps to the next timer when there is nothing to do: hours of waiting take no time.

Nothing here is a mock: callbacks, futures, tasks and timers are asyncio's own. Only `time()` and the wait for
the next timer are replaced, so that a scenario is exact, repeatable, and free of sleeps. A wait that nothing would
ever end is an error (`Deadlock`) instead of a test that hangs.
"""

from __future__ import annotations

import asyncio
import gc
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

# Every turn of the loop takes a moment, as it does in reality: a timer re-armed for "now" cannot stop the clock.
TURN_S = 1e-9
# Larger than what all the turns of a test add up to, smaller than anything that a test means by "later".
MOMENT_S = 1e-4


class Deadlock(Exception):
    """Everybody waits and nothing is scheduled: in real time this test would hang."""


class _Selector(selectors.SelectSelector):
    """Waits for the next timer by moving the loop's clock."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Deadlock("everybody waits, and no timer is set")
        self.loop.now_s += TURN_S
        if timeout > 0:
            for check in self.loop.when_idle:
                check()
            self.loop.now_s += timeout
        return []  # no sockets, pipes or threads take part


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time.

    Attributes:
        now_s: The time.
        when_idle: Called whenever nothing more can happen before time passes: the moment to check invariants.
    """

    def __init__(self) -> None:
        selector = _Selector()
        selector.loop = self
        self.now_s = 0.0
        self.when_idle: list[Callable[[], None]] = []
        super().__init__(selector)

    def time(self) -> float:
        return self.now_s

    def timers(self) -> list[asyncio.TimerHandle]:
        """Return the timers that are still to go off."""
        return [timer for timer in self._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]


def now() -> float:
    """Return the running loop's time."""
    return asyncio.get_running_loop().time()


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `main()` in virtual time; no task, timer or unheard exception may be left behind by it."""
    complaints: list[dict[str, Any]] = []

    async def observed() -> T:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        result = await main()
        for _ in range(3):  # what was told to end needs a turn to do so
            await asyncio.sleep(0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks left behind: {left}"
        timers = asyncio.get_running_loop().timers()  # type: ignore[attr-defined]
        assert not timers, f"timers left behind: {timers}"
        return result

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        result = runner.run(observed())
        gc.collect(1)  # futures complain about an exception nobody heard when they are collected
    assert not complaints, complaints
    return result
