"""A frontend's supply of models: it serves what the supervisor says, and passes on what it is asked to change.

Opened ──▶ client and model ──▶ Served ──▶ registry ──▶ Follows
                                  └──▶ those that are served no longer answer whom they have ──▶ Left
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import TYPE_CHECKING, Literal

from service.card.model import CardModel
from service.cluster.arena import Arena
from service.cluster.client import Client
from service.cluster.control import Asked, EngineDown, EngineUp, Follows, Left, Message, Opened, Served, Told
from service.cluster.files import FilePlace
from service.errors import ServiceError
from service.model import Model
from service.workers import Workers

if TYPE_CHECKING:
    from service.cluster.control import Control
    from service.cluster.messages import Sender
    from service.metrics import Metrics
    from service.registry import Registry
    from service.settings import Settings
    from service.supply import State

logger = logging.getLogger(__name__)


class Follower:
    """Keeps a registry as the supervisor wants it; see `service.supply.Supply`.

    Args:
        settings: Of the service.
        sender: Which frontend this is.
        control: The pipe to the supervisor.
        metrics: Where everything is counted.
        registry: What is served; changed by nobody else.
    """

    def __init__(
        self, settings: Settings, sender: Sender, control: Control, metrics: Metrics, registry: Registry[Model]
    ) -> None:
        self._settings = settings
        self._sender = sender
        self._control = control
        self._metrics = metrics
        self._registry = registry
        self._workers = Workers(settings.decode_threads, "decode")
        self._clients: dict[int, Client] = {}  # by the numbers of their models, also of those that close
        self._models: dict[int, Model] = {}  # in service, or about to be
        self._complete = asyncio.Event()  # all that was wanted at the start is there
        self._closing: set[asyncio.Task[None]] = set()
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[list[State]]] = {}
        self._states = asyncio.Lock()

    @property
    def complete(self) -> bool:
        """Whether all that was wanted at the start is there."""
        return self._complete.is_set()

    def received(self, message: Message) -> None:
        """Take in what the supervisor says."""
        match message:
            case Opened():
                self._open(message)
            case EngineUp() if message.model in self._clients:
                self._clients[message.model].connect(message.engine, message.address)
            case EngineDown() if message.model in self._clients:
                self._clients[message.model].disconnect(message.engine, message.fault)
            case Served():
                self._follow(message)
            case Told():
                self._told(message)
            case _:
                pass

    def orphaned(self) -> None:
        """Note that the supervisor is gone, and with it the engines."""
        for client in self._clients.values():
            for engine in range(len(self._settings.devices)):
                client.disconnect(engine)

    async def start(self) -> None:
        """See `service.supply.Supply`; what cannot be served the supervisor knows first, and ends."""
        await self._complete.wait()

    async def watch(self) -> None:
        """See `service.supply.Supply`: the supervisor does it."""

    async def load(self, name: str) -> None:
        """See `service.supply.Supply`."""
        await self._ask("load", name)

    async def unload(self, name: str) -> None:
        """See `service.supply.Supply`."""
        await self._ask("unload", name)

    async def states(self) -> list[State]:
        """See `service.supply.Supply`."""
        async with self._states:  # anybody may ask, and the supervisor has other things to do
            return await self._ask("states")

    async def close(self) -> None:
        """See `service.supply.Supply`."""
        for number in list(self._models):
            self._close(number)
        await asyncio.gather(*self._closing)
        self._workers.close()

    async def _ask(self, what: Literal["load", "unload", "states"], name: str = "") -> list[State]:
        number = next(self._numbers)
        future: asyncio.Future[list[State]] = asyncio.get_running_loop().create_future()
        self._asked[number] = future
        self._control.send(Asked(number, what, name))
        try:
            return await future
        finally:
            del self._asked[number]

    def _told(self, told: Told) -> None:
        future = self._asked.get(told.number)
        if future is None or future.done():  # who asked has hung up
            return
        if isinstance(told.outcome, ServiceError):
            future.set_exception(told.outcome)
        else:
            future.set_result(told.outcome)

    def _open(self, opened: Opened) -> None:
        arena = Arena.attach(opened.layout, opened.arena)
        place = FilePlace if opened.layout.file_bytes else None
        client = Client(arena, self._sender, self._settings.queue_capacity, place)
        promise = opened.promise
        counts = self._metrics.model(promise.contract.name, promise.version)
        kind = CardModel if self._settings.decoder == "gpu" else Model
        self._clients[opened.model] = client
        self._models[opened.model] = kind(
            promise.contract,
            promise.version,
            promise.provider,
            client,
            self._settings,
            counts,
            self._workers,
            golden=promise.golden,
            release=counts.close,
        )

    def _follow(self, served: Served) -> None:
        self._registry.replace({wanted: self._models[number] for wanted, number in served.models})
        self._complete.set()
        self._control.send(Follows(served.number))
        for number in self._models.keys() - {number for _, number in served.models}:
            self._close(number)

    def _close(self, number: int) -> None:
        closing = asyncio.get_running_loop().create_task(self._closed(number, self._models.pop(number)))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _closed(self, number: int, model: Model) -> None:
        await model.close()
        del self._clients[number]
        self._control.send(Left(number))
