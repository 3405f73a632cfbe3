"""An engine's runs on threads of their own, awaitable from the event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Awaitable

    import numpy as np
    from numpy.typing import NDArray

    from service.backend import Images
    from service.engine import Engine


class EngineLanes:
    """An engine's runs on worker threads; see `service.batcher.Lanes` for the attributes.

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
