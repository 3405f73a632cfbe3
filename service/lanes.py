"""What the batcher needs of an engine, and an engine's runs on threads of their own, awaitable from the event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from service.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import numpy as np
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


class Threads(Protocol):
    """Threads that runs share with decoding.

    Attributes:
        idle: How many have nothing to do.
        on_idle: Called whenever one has nothing to do any more.
    """

    on_idle: Callable[[], None] | None

    @property
    def idle(self) -> int: ...  # noqa: D102 - see Attributes


class EngineLanes:
    """An engine's runs on worker threads; see `Lanes` for the attributes.

    Args:
        engine: What runs.
        workers: The threads, which others may use too: runs go first. One for each lane by default.
    """

    def __init__(self, engine: Engine, workers: Workers | None = None) -> None:
        self.count = engine.lanes
        self.pipelined = engine.pipelined
        self.can_widen = engine.can_widen
        self._engine = engine
        self._workers = workers or Workers(engine.lanes, "engine")

    def run(self, images: Images, *, wide: bool) -> Awaitable[NDArray[np.float32]]:
        """Return the probabilities of `images`, (len(images), classes)."""
        return self._workers.run_first(self._engine.infer, images, wide=wide)

    def close(self) -> None:
        """End the threads once their runs have ended."""
        self._workers.close()
