"""From starting to ready to draining: who may be answered now, and by which model."""

from __future__ import annotations

import asyncio
import logging
import time
from enum import StrEnum
from typing import TYPE_CHECKING

from service.errors import EngineLost, StartError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.model import Model

logger = logging.getLogger(__name__)

_LAST_RUN_S = 5.0


class Phase(StrEnum):
    """What the service is doing."""

    STARTING = "starting"
    READY = "ready"
    UNAVAILABLE = "unavailable"
    DRAINING = "draining"
    FAILED = "failed"


class Lifecycle:
    """Builds the model in the background and knows whether a request would be answered.

    Args:
        build: Returns the model, warm; may take its time, on a thread of its own.

    Attributes:
        last_run_s: How long the engine may take to end when nobody waits for its answer any more; one that hangs is
            left behind.
    """

    def __init__(self, build: Callable[[], Model]) -> None:
        self.phase = Phase.STARTING
        self.last_run_s = _LAST_RUN_S
        self._started_s = time.monotonic()
        self._build = build
        self._model: Model | None = None
        self._loading: asyncio.Task[None] | None = None

    @property
    def fault(self) -> str | None:
        """Why nobody is answered though there is a model: it does not come out right on this machine."""
        return None if self._model is None else self._model.golden.fault

    @property
    def held(self) -> Model | None:
        """The model, whether it answers or not; None while there is none."""
        return self._model

    @property
    def uptime_s(self) -> float:
        """Seconds since the service started."""
        return time.monotonic() - self._started_s

    @property
    def model(self) -> Model:
        """The model that answers, also while the service drains: until it stops, somebody may still come.

        Raises:
            Unavailable: starting, stopping or failed, or the engine is being replaced.
        """
        if self._model is None:
            raise Unavailable(f"the service is {self.phase}", retry_after_s=1.0)
        if self.fault is not None:
            raise Unavailable(self.fault, retry_after_s=1.0)
        if self._model.backend.unavailable is not None:
            raise self._model.backend.unavailable
        return self._model

    @property
    def status(self) -> Phase:
        """The phase as others should know it: ready only if a request would be answered, whatever was true before."""
        if self.phase is Phase.READY and (self._model is None or self._model.backend.unavailable is not None):
            return Phase.UNAVAILABLE
        return self.phase

    @property
    def lost(self) -> bool:
        """Whether the engine is lost for good, and this process with it."""
        return self._model is not None and isinstance(self._model.backend.unavailable, EngineLost)

    def start(self) -> None:
        """Begin loading; `phase` turns ready once the model is warm."""
        self._loading = asyncio.get_running_loop().create_task(self._load())

    async def loaded(self) -> Model | None:
        """Wait until the model is warm and return it, or None when there is nothing to serve."""
        if self._loading is not None:
            await asyncio.wait({self._loading})
        return self._model

    def drain(self) -> None:
        """Say from now on that nobody should be sent here any more; who comes all the same is answered."""
        self.phase = Phase.DRAINING

    async def stop(self) -> None:
        """Answer what is in line, then let go of the model. Requests have ended by then, or were cancelled."""
        self.drain()
        if self._loading is not None:
            await self._loading
        if self._model is not None:
            try:
                async with asyncio.timeout(self.last_run_s):
                    await self._model.close()
            except TimeoutError:
                logger.warning("the engine is still at work, for nobody: not waited for")

    async def _load(self) -> None:
        try:
            self._model = await asyncio.to_thread(self._build)
        except StartError as error:
            logger.error("the model cannot be served: %s", error)
            self.phase = Phase.FAILED
            return
        except Exception:  # whatever it is, nothing can be served
            logger.exception("the model could not be loaded")
            self.phase = Phase.FAILED
            return
        if self.fault is not None:
            logger.error("not ready: %s", self.fault)
            self.phase = Phase.FAILED
            return
        if self.phase is Phase.STARTING:
            self.phase = Phase.READY
        logger.info("ready after %.1f s on %s", self.uptime_s, self._model.provider)
