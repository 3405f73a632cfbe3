"""Brings models into service and takes them out: at the start, when the repository changes, and on request.

    repository ──▶ what is wanted ──▶ build: load, check, warm up ──▶ registry ──▶ the one before is closed

Once a model has taken over, new requests see no other; the one before it closes when those that it had have been
answered. One that cannot be served changes nothing: what was served still is.

What is built and served is a `Model`; in the supervisor of several processes, a hall that stands for one
(`service.cluster.hall`).
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from service.errors import BadRequest, NotFound, StartError, Unprocessable
from service.repository import EVERY, Wanted, artefacts, current
from service.supply import State

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from service.golden import GoldenResult
    from service.registry import Registry
    from service.repository import Artefact
    from service.settings import Settings

logger = logging.getLogger(__name__)


class Served(Protocol):
    """What a loader asks of what it brings into service.

    Attributes:
        golden: What the golden images were answered.
    """

    @property
    def version(self) -> int: ...  # noqa: D102 - see `service.registry.Versioned`

    @property
    def golden(self) -> GoldenResult: ...  # noqa: D102 - see Attributes

    async def close(self) -> None:
        """Answer whoever is in line, then let go of everything."""


M = TypeVar("M", bound=Served)
Built = TypeVar("Built", bound=Served, covariant=True)


class Builder(Protocol[Built]):
    """Makes models."""

    async def build(self, artefact: Artefact) -> Built:
        """Return a model that is ready to answer; takes seconds.

        Raises:
            StartError: the artefact cannot be served.
        """

    def close(self) -> None:
        """Let go of what the models had in common; they are closed by then."""


class _FailedBefore(StartError):
    """A file that has failed already, and has not changed."""


async def _nobody_else() -> None:
    """All that have to know what is served look into the registry itself."""


class Loader(Generic[M]):
    """Keeps a registry as it is wanted, one change at a time; see `service.supply.Supply`.

    Args:
        settings: Where the repository is, and what of it to serve.
        first: Returns what to serve at the start.
        registry: What is served; changed by nobody else.
        builder: Makes the models.
        tell: Called when the registry has changed; returns once everybody who answers requests goes by it.
    """

    def __init__(
        self,
        settings: Settings,
        first: Callable[[], Mapping[Wanted, Artefact]],
        registry: Registry[M],
        builder: Builder[M],
        tell: Callable[[], Awaitable[None]] = _nobody_else,
    ) -> None:
        self._repository = settings.artifacts
        self._poll_s = settings.repository_poll_s
        self._every_name = EVERY in (settings.model or "").split(",")
        self._first = first
        self._registry = registry
        self._builder = builder
        self._tell = tell
        self._unloaded: dict[str, list[Wanted]] = {}  # by name: what was served until somebody asked to unload it
        self._artefacts: dict[M, Artefact] = {}  # of the models in service
        self._failures: dict[Path, tuple[Artefact, str]] = {}
        self._loading: Artefact | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """See `service.supply.Supply`. What does not come out right here is there to be asked why."""
        async with self._turn:
            for wanted, artefact in self._first().items():
                await self._bring(wanted, artefact, insist=False)
            await self._tell()

    async def watch(self) -> None:
        """Look at the repository again and again, if the settings say so."""
        while self._poll_s:
            await asyncio.sleep(self._poll_s)
            try:
                await self.look()
            except OSError as error:
                logger.error("the repository cannot be read now: %s", error)

    async def look(self) -> None:
        """Bring into service what is new or was replaced. What is gone from the disk is served nevertheless."""
        async with self._turn:
            every = await asyncio.to_thread(artefacts, self._repository)
            for wanted in [*self._registry.wanted, *self._new_names(every)]:
                artefact = current(every, wanted)
                try:
                    if artefact is not None:
                        await self._swap(wanted, artefact)
                except _FailedBefore:
                    pass
                except StartError as error:
                    logger.error("%s cannot be served; what was served still is: %s", artefact, error)

    async def load(self, name: str) -> None:
        """See `service.supply.Supply`."""
        async with self._turn:
            every = await asyncio.to_thread(artefacts, self._repository)
            served = [wanted for wanted in self._registry.wanted if wanted.name == name]
            pairs = [(each, current(every, each)) for each in served or self._unloaded.get(name) or [Wanted(name)]]
            if all(artefact is None for _, artefact in pairs):
                raise NotFound(f"there is no model {name!r} in the repository")
            self._failures.clear()  # who asks may know better
            try:
                for wanted, artefact in pairs:
                    if artefact is not None:
                        await self._swap(wanted, artefact)
            except StartError as error:
                logger.error("%s cannot be served: %s", name, error)
                raise Unprocessable(f"{name} cannot be served: {error}") from error
            self._unloaded.pop(name, None)

    async def unload(self, name: str) -> None:
        """See `service.supply.Supply`."""
        async with self._turn:
            self._registry.find(name)
            if name == self._registry.default:
                raise BadRequest(f"{name} is the default model: it is served as long as the service runs")
            self._unloaded[name] = [wanted for wanted in self._registry.wanted if wanted.name == name]
            self._registry.remove(name)
            await self._tell()
            self._let_go()

    async def states(self) -> list[State]:
        """See `service.supply.Supply`; reads the disk."""
        every = await asyncio.to_thread(artefacts, self._repository)
        ready = {(artefact.name, artefact.version) for artefact in self._artefacts.values()}
        return [self._state(artefact, ready) for artefact in every]

    async def close(self) -> None:
        """Answer what is in line, then let go of everything."""
        for model in self._registry.models:
            self._close(model)
        await asyncio.gather(*self._closing)
        self._builder.close()

    def _new_names(self, every: list[Artefact]) -> list[Wanted]:
        known = {wanted.name for wanted in self._registry.wanted} | self._unloaded.keys()
        return [Wanted(name) for name in sorted({each.name for each in every} - known)] if self._every_name else []

    async def _swap(self, wanted: Wanted, artefact: Artefact) -> None:
        """Serve `artefact` as `wanted`, if that is not so already, and whoever did so before no longer."""
        served = self._registry.get(wanted)
        if served is not None and self._artefacts[served] == artefact:
            return
        await self._bring(wanted, artefact, insist=True)
        await self._tell()
        self._let_go()
        if served is not None:
            logger.info("%s is served, and no longer version %d", artefact, served.version)

    async def _bring(self, wanted: Wanted, artefact: Artefact, *, insist: bool) -> None:
        """Put `artefact` into the registry; `insist` that its golden images come out right."""
        same = (model for model, its in self._artefacts.items() if its == artefact)
        model = next(same, None) or await self._built(artefact, insist=insist)
        self._artefacts[model] = artefact
        self._registry.put(wanted, model)

    async def _built(self, artefact: Artefact, *, insist: bool) -> M:
        failed, reason = self._failures.get(artefact.path, (None, ""))
        if failed == artefact:
            raise _FailedBefore(reason)
        self._loading = artefact
        try:
            model = await self._builder.build(artefact)
            fault = model.golden.fault
            if insist and fault is not None:
                await model.close()
                raise StartError(fault)
        except Exception as error:
            self._failures[artefact.path] = (artefact, str(error))
            if isinstance(error, StartError):
                raise
            logger.exception("%s made the loader fail", artefact)
            raise StartError(f"unexpected failure: {error}") from error
        finally:
            self._loading = None
        self._failures.pop(artefact.path, None)
        return model

    def _let_go(self) -> None:
        """Close the models that serve nothing any more, each when its callers have been answered."""
        for model in self._artefacts.keys() - set(self._registry.models):
            del self._artefacts[model]
            self._close(model)

    def _close(self, model: M) -> None:
        closing = asyncio.get_running_loop().create_task(model.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def _state(self, artefact: Artefact, ready: set[tuple[str, int]]) -> State:
        name, version = artefact.name, artefact.version
        _, reason = self._failures.get(artefact.path, (None, ""))
        if artefact == self._loading:
            return State(name, version, "LOADING")
        if (name, version) in ready:
            return State(name, version, "READY", reason and f"the file that took its place fails: {reason}")
        return State(name, version, "UNAVAILABLE", reason or "not loaded")
