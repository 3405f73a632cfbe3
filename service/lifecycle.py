"""From starting to ready to draining: who may be answered now, and by which model."""

from __future__ import annotations

import asyncio
import logging
import time
from enum import StrEnum
from typing import TYPE_CHECKING

from service.errors import EngineLost, StartError, Unavailable

if TYPE_CHECKING:
    from service.model import Model
    from service.registry import Registry
    from service.supply import Supply

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
    """Has the models loaded in the background and knows whether a request would be answered.

    Args:
        registry: The models.
        loader: Brings them there.

    Attributes:
        last_run_s: How long the engine may take to end when nobody waits for its answer any more; one that hangs is
            left behind.
    """

    def __init__(self, registry: Registry[Model], loader: Supply) -> None:
        self.phase = Phase.STARTING
        self.last_run_s = _LAST_RUN_S
        self.registry = registry
        self.loader = loader
        self._complete = False  # everything that was wanted at the start is there
        self._serving = False  # and comes out right
        self._left_behind = False  # a run was still going on when everything had ended
        self._started_s = time.monotonic()
        self._loading: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None

    @property
    def fault(self) -> str | None:
        """Why nobody is answered though there are models: one does not come out right on this machine."""
        return next((model.golden.fault for model in self.registry.models if model.golden.fault is not None), None)

    @property
    def uptime_s(self) -> float:
        """Seconds since the service started."""
        return time.monotonic() - self._started_s

    @property
    def model(self) -> Model:
        """The model that answers a request which names none; see `find`."""
        return self.find()

    def find(self, name: str | None = None, version: str | None = None) -> Model:
        """Return the model that answers a request for `name` in `version`, each None where any will do.

        So it is while the service drains, too: until it stops, somebody may still come.

        Raises:
            Unavailable: starting, stopping or failed, or the engine is being replaced.
            NotFound: no such model is served.
        """
        if not self._serving:
            raise Unavailable(self.fault or f"the service is {self.phase}", retry_after_s=1.0)
        model = self.registry.find(name, version)
        if model.backend.unavailable is not None:
            raise model.backend.unavailable
        return model

    def known(self, name: str | None = None, version: str | None = None) -> Model:
        """Return the model as `find` does, but also one that answers nobody now.

        Raises:
            Unavailable: there is none at all yet.
            NotFound: no such model is served.
        """
        if not self.registry.models:
            raise Unavailable(f"the service is {self.phase}", retry_after_s=1.0)
        return self.registry.find(name, version)

    @property
    def status(self) -> Phase:
        """The phase as others should know it: ready only if a request would be answered, whatever was true before."""
        if self.phase is Phase.READY and any(model.backend.unavailable for model in self.registry.models):
            return Phase.UNAVAILABLE
        return self.phase

    @property
    def lost(self) -> bool:
        """Whether an engine is lost for good, and this process with it."""
        return any(isinstance(model.backend.unavailable, EngineLost) for model in self.registry.models)

    @property
    def at_work(self) -> bool:
        """Whether an engine may be in the middle of a run that nobody waits for any more."""
        return self._left_behind or self.lost

    def start(self) -> None:
        """Begin loading; `phase` turns ready once the models are warm."""
        self._loading = asyncio.get_running_loop().create_task(self._load())

    async def loaded(self) -> Model | None:
        """Wait until the models are warm and return the default, or None when there is nothing to serve."""
        if self._loading is not None:
            await asyncio.wait({self._loading})
        return self.registry.find() if self._complete else None

    def drain(self) -> None:
        """Say from now on that nobody should be sent here any more; who comes all the same is answered."""
        self.phase = Phase.DRAINING

    async def stop(self) -> None:
        """Answer what is in line, then let go of the models. Requests have ended by then, or were cancelled."""
        self.drain()
        if self._watching is not None:
            self._watching.cancel()
        if self._loading is not None:
            await self._loading
        self._serving = False  # nobody comes any more: who still does must not keep a model from closing
        try:
            async with asyncio.timeout(self.last_run_s):
                await self.loader.close()
        except TimeoutError:
            logger.warning("the engine is still at work, for nobody: not waited for")
            self._left_behind = True

    async def _load(self) -> None:
        try:
            await self.loader.start()
        except StartError as error:
            logger.error("the model cannot be served: %s", error)
            self.phase = Phase.FAILED
            return
        self._complete = True
        if self.fault is not None:
            logger.error("not ready: %s", self.fault)
            self.phase = Phase.FAILED
            return
        self._serving = True
        if self.phase is Phase.STARTING:
            self.phase = Phase.READY
        served = ", ".join(f"{model.name}:{model.version} on {model.provider}" for model in self.registry.models)
        logger.info("ready after %.1f s: %s", self.uptime_s, served)
        self._watching = asyncio.get_running_loop().create_task(self.loader.watch())
