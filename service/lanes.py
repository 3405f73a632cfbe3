"""What the batcher needs of an engine, and an engine's runs on threads of their own, awaitable from the event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from service import shortage
from service.errors import EngineLost
from service.rows import all_finite
from service.watchdog import Watchdog
from service.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from numpy.typing import NDArray

    from service.backend import Images
    from service.engine import Engine


class Lanes(Protocol):
    """An engine as the batcher sees it: a number of runs that may go on at once.

    Attributes:
        count: How many runs may go on at once.
        pipelined: True where lanes share one device, so that a second run only overlaps its assembly with the
            first one's compute; False where each lane has cores of its own.
        can_widen: Whether one run can use every lane's cores, which is fastest when there is only one image.
    """

    count: int
    pipelined: bool
    can_widen: bool

    def run(self, images: Images, *, wide: bool) -> Awaitable[NDArray[np.float32]]:
        """Return the probabilities of `images`, (len(images), classes)."""

    async def examine(self) -> None:
        """Find out, after a run that went wrong, whether the engine can still do what it is for.

        Raises:
            EngineLost: it cannot.
        """


class Threads(Protocol):
    """Threads that runs share with decoding.

    Attributes:
        idle: How many have nothing to do.
        on_idle: Each is called whenever one has nothing to do any more.
    """

    on_idle: list[Callable[[], None]]

    @property
    def idle(self) -> int: ...  # noqa: D102 - see Attributes


class EngineLanes:
    """An engine's runs on worker threads; see `Lanes` for the attributes.

    Args:
        engine: What runs.
        workers: The threads, which others may use too: runs go first. One for each lane by default.
        timeout_s: How long a run may take.
    """

    def __init__(self, engine: Engine, workers: Workers | None = None, *, timeout_s: float) -> None:
        self.count = engine.lanes
        self.pipelined = engine.pipelined
        self.can_widen = engine.can_widen
        self._engine = engine
        self._watchdog = Watchdog(timeout_s)
        self._shared = workers is not None
        self._workers = workers or Workers(engine.lanes, "engine")

    async def run(self, images: Images, *, wide: bool) -> NDArray[np.float32]:
        """Return the probabilities of `images`, (len(images), classes).

        Raises:
            EngineLost: it took longer than a run may take.
        """
        return await self._watchdog.within(self._workers.run_first(shortage.infer, self._engine, images, wide=wide))

    async def examine(self) -> None:
        """Run one grey image; see `Lanes.examine`."""
        crop = self._engine.contract.preprocessing.crop
        try:
            rows = await self.run([np.full((crop, crop, 3), 127, np.uint8)], wide=False)
            if len(rows) != 1 or not all_finite(rows):
                raise ValueError("what it answers is no answer")
        except EngineLost:
            raise
        except Exception as error:
            raise EngineLost("the engine fails whatever it is given", retry_after_s=1.0) from error

    def close(self) -> None:
        """End the threads once their runs have ended, unless they are others' too."""
        if not self._shared:
            self._workers.close()
