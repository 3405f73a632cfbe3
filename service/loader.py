"""Brings models into service and takes them out: at the start, when the repository changes, and on request.

    repository ──▶ what is wanted ──▶ build: load, check, warm up (a thread) ──▶ registry ──▶ the one before is closed

Once a model has taken over, new requests see no other; the one before it closes when those that it had have been
answered. One that cannot be served changes nothing: what was served still is.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NamedTuple, Protocol

from service.errors import BadRequest, NotFound, StartError, Unprocessable
from service.repository import EVERY, Wanted, artefacts, current

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from service.model import Model
    from service.registry import Registry
    from service.repository import Artefact
    from service.settings import Settings

logger = logging.getLogger(__name__)


class Builder(Protocol):
    """Makes models."""

    def build(self, artefact: Artefact) -> Model:
        """Return a model that is ready to answer; takes seconds, on a thread.

        Raises:
            StartError: the artefact cannot be served.
        """

    def close(self) -> None:
        """Let go of what the models had in common; they are closed by then."""


class State(NamedTuple):
    """One version in the repository: READY, LOADING or UNAVAILABLE, as Triton says it, and why."""

    name: str
    version: int
    state: str
    reason: str = ""


class _FailedBefore(StartError):
    """A file that has failed already, and has not changed."""


class Loader:
    """Keeps a registry as it is wanted, one change at a time.

    Args:
        settings: Where the repository is, and what of it to serve.
        first: Returns what to serve at the start.
        registry: What is served; changed by nobody else.
        builder: Makes the models.
    """

    def __init__(
        self, settings: Settings, first: Callable[[], Mapping[Wanted, Artefact]], registry: Registry, builder: Builder
    ) -> None:
        self._repository = settings.artifacts
        self._every_name = EVERY in (settings.model or "").split(",")
        self._first = first
        self._registry = registry
        self._builder = builder
        self._unloaded: dict[str, list[Wanted]] = {}  # by name: what was served until somebody asked to unload it
        self._artefacts: dict[Model, Artefact] = {}  # of the models in service
        self._failures: dict[Path, tuple[Artefact, str]] = {}
        self._loading: Artefact | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Bring into service what the settings want, also what does not come out right here: it can be asked why.

        Raises:
            StartError: some of it cannot be served.
        """
        async with self._turn:
            for wanted, artefact in self._first().items():
                await self._bring(wanted, artefact, insist=False)

    async def watch(self, every_s: float) -> None:
        """Look at the repository again and again."""
        while True:
            await asyncio.sleep(every_s)
            await self.look()

    async def look(self) -> None:
        """Bring into service what is new or was replaced. What is gone from the disk is served nevertheless."""
        async with self._turn:
            every = await asyncio.to_thread(artefacts, self._repository)
            for wanted in [*self._registry.wanted, *self._new_names(every)]:
                artefact = current(every, wanted)
                try:
                    if artefact is not None:
                        await self._bring(wanted, artefact)
                except _FailedBefore:
                    pass
                except StartError as error:
                    logger.error("%s cannot be served; what was served still is: %s", artefact, error)

    async def load(self, name: str) -> None:
        """Serve `name`: its highest version, or what was unloaded of it; where it is served, what is new of it.

        Raises:
            NotFound: the repository has no such model.
            Unprocessable: it cannot be served. What was served still is.
        """
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
                        await self._bring(wanted, artefact)
            except StartError as error:
                logger.error("%s cannot be served: %s", name, error)
                raise Unprocessable(f"{name} cannot be served: {error}") from error
            self._unloaded.pop(name, None)

    async def unload(self, name: str) -> None:
        """Serve `name` no longer; who has asked it something is still answered.

        Raises:
            NotFound: it is not served.
            BadRequest: it is the default.
        """
        async with self._turn:
            self._registry.find(name)
            if name == self._registry.default:
                raise BadRequest(f"{name} is the default model: it is served as long as the service runs")
            self._unloaded[name] = [wanted for wanted in self._registry.wanted if wanted.name == name]
            self._registry.remove(name)
            self._let_go()

    def states(self) -> list[State]:
        """Return the state of everything in the repository; reads the disk."""
        ready = {(artefact.name, artefact.version) for artefact in self._artefacts.values()}
        return [self._state(artefact, ready) for artefact in artefacts(self._repository)]

    async def close(self) -> None:
        """Answer what is in line, then let go of everything."""
        for model in self._registry.models:
            self._close(model)
        await asyncio.gather(*self._closing)
        self._builder.close()

    def _new_names(self, every: list[Artefact]) -> list[Wanted]:
        known = {wanted.name for wanted in self._registry.wanted} | self._unloaded.keys()
        return [Wanted(name) for name in sorted({each.name for each in every} - known)] if self._every_name else []

    async def _bring(self, wanted: Wanted, artefact: Artefact, *, insist: bool = True) -> None:
        """Serve `artefact` as `wanted`, if that is not so already; `insist` that its golden images come out right."""
        served = self._registry.get(wanted)
        if served is not None and self._artefacts[served] == artefact:
            return
        same = (model for model, its in self._artefacts.items() if its == artefact)
        model = next(same, None) or await self._built(artefact, insist=insist)
        self._artefacts[model] = artefact
        self._registry.put(wanted, model)
        self._let_go()
        if served is not None:
            logger.info("%s is served, and no longer version %d", artefact, served.version)

    async def _built(self, artefact: Artefact, *, insist: bool) -> Model:
        failed, reason = self._failures.get(artefact.path, (None, ""))
        if failed == artefact:
            raise _FailedBefore(reason)
        self._loading = artefact
        try:
            model = await asyncio.to_thread(self._builder.build, artefact)
            if insist and model.golden.fault is not None:
                await model.close()
                raise StartError(model.golden.fault)
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

    def _close(self, model: Model) -> None:
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
