"""A lone image's run, on the thread that decoded it.

At low load, most of what a service adds to an image's own time is handing it over: to a thread that decodes, back to
the loop, to a thread that runs, and back. Whoever is alone needs only the first and the last. Where somebody else has
come by the time that the image is decoded, nothing is run ahead: a core for each, or a batch of both, is better then.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

from service.errors import EngineLost

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import numpy as np
    from numpy.typing import NDArray

    from service.backend import Images

# Watching a run costs a task; one that is over sooner than this is not worth it.
_UNWATCHED_S = 0.5


class Runner(Protocol):
    """What runs on the calling thread."""

    def infer(self, images: Images, *, wide: bool) -> NDArray[np.float32]:
        """Return the probabilities of `images`, (len(images), classes); blocks."""

    async def within_limit(self, run: Awaitable[None]) -> None:
        """Wait for `run`, as long as a run may take.

        Raises:
            EngineLost: it took longer.
        """


class Ahead:
    """One run that may follow upon decoding.

    Args:
        runner: What runs.
        lose: Called on the loop if the run never ends.

    Attributes:
        began_s: When the run began, on `time.monotonic`; None where it did not.
        seconds: How long it took.
        rows: What it answered, (1, classes); None where it did not.
        error: What it raised.
        waited_for: Whether its caller has yet to ask for its answer.
        ended: Whether the thread is done.
    """

    __slots__ = (
        "_chance",
        "_lose",
        "_over",
        "_runner",
        "_timer",
        "began_s",
        "ended",
        "error",
        "rows",
        "seconds",
        "waited_for",
    )

    def __init__(self, runner: Runner, lose: Callable[[EngineLost], None]) -> None:
        self.began_s: float | None = None
        self.seconds = 0.0
        self.rows: NDArray[np.float32] | None = None
        self.error: Exception | None = None
        self.waited_for = True
        self.ended = False
        self._runner = runner
        self._lose = lose
        self._chance = [True]  # who takes it out decides: the thread to run, or the loop that nothing runs
        self._over: asyncio.Future[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(_UNWATCHED_S, self._watch)

    @property
    def occupies(self) -> bool:
        """Whether its place in line is one no more, but not given back yet."""
        return self.began_s is not None and self.waited_for

    def decline(self) -> bool:
        """Have nothing run; return whether it is not too late for that."""
        try:
            self._chance.pop()
        except IndexError:
            return False
        return True

    def run(self, image: NDArray[np.uint8]) -> None:
        """Run `image`, unless that was declined; on the thread that decoded it."""
        if not self.decline():
            return
        self.began_s = time.monotonic()
        try:
            self.rows = self._runner.infer([image], wide=True)
        except Exception as error:  # the caller's, who has yet to ask
            self.error = error
        self.seconds = time.monotonic() - self.began_s

    def end(self) -> None:
        """Note on the loop that the thread is done."""
        self.ended = True
        self._timer.cancel()
        if self._over is not None and not self._over.done():
            self._over.set_result(None)

    def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        if self.began_s is None:  # a large picture takes its time, which is not the engine's
            self._timer = loop.call_later(_UNWATCHED_S, self._watch)
            return
        self._over = loop.create_future()
        loop.create_task(self._wait(self._over))  # noqa: RUF006 - the watchdog holds it

    async def _wait(self, over: asyncio.Future[None]) -> None:
        try:
            await self._runner.within_limit(over)
        except EngineLost as lost:
            self._lose(lost)
