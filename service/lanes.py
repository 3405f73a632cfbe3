"""An engine's runs on threads of their own, awaitable from the event loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from service.engine import Engine


class EngineLanes:
    """One thread per lane; see `service.batcher.Lanes` for the attributes."""

    def __init__(self, engine: Engine) -> None:
        self.count = engine.lanes
        self.pipelined = engine.pipelined
        self.can_widen = engine.can_widen
        self._engine = engine
        self._threads = ThreadPoolExecutor(engine.lanes, thread_name_prefix="engine")

    def run(self, images: Sequence[NDArray[np.uint8]], *, wide: bool) -> Awaitable[NDArray[np.float32]]:
        """Return the probabilities of `images`, (len(images), classes)."""
        infer = partial(self._engine.infer, images, wide=wide)
        return asyncio.get_running_loop().run_in_executor(self._threads, infer)

    def close(self) -> None:
        """End the threads once their runs have ended."""
        self._threads.shutdown(wait=False, cancel_futures=True)
