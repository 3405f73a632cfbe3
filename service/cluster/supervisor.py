"""The parent of all processes: starts them, watches them, replaces the dead, stops them in order.

start   engines and frontends side by side; the first engine of a model that has loaded says how large a slot must be
death   of an engine: frontends answer 503 at once, until its successor serves
        of a frontend: engines drop its jobs; the others go on taking connections from the shared socket
change  the new model's engines load beside the old one's; once they are warm frontends are told; each answers whom the
        old one has and then leaves it; when all have, its engines end and its arena goes
drain   frontends say that they are not ready, and go on answering for a while
stop    frontends finish what is in flight, then engines, then the arenas and the sockets' folder go
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from functools import partial
from typing import TYPE_CHECKING

from service.cluster.audience import Audience
from service.cluster.control import Asked, Drain, Follows, Left, Ready, Told
from service.cluster.halls import Halls
from service.cluster.keeper import Keeper, stop
from service.cluster.post import Post
from service.cluster.tally import row_of_frontend
from service.errors import ServiceError, StartError, Unavailable
from service.loader import Loader
from service.registry import Registry
from service.repository import wanted

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Mapping
    from pathlib import Path

    from service.cluster.control import Message
    from service.cluster.hall import Hall
    from service.contract import Contract
    from service.metrics import Metrics
    from service.repository import Artefact, Wanted
    from service.settings import Settings
    from service.supply import State

logger = logging.getLogger(__name__)

_RESERVE_S = 1.0  # of the time to stop in, what is for ending the engines and for killing who has not ended


class Supervisor:
    """Runs the service until told to stop.

    Args:
        settings: Of the service.
        folder: Private, for the sockets.
        listeners: The listening sockets that all frontends share.
        metrics: Where deaths are counted.
        announce: Called once, with the default model's contract, when the first frontend answers.
    """

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        listeners: list[socket.socket],
        metrics: Metrics,
        announce: Callable[[Contract], None],
    ) -> None:
        self._settings = settings
        self._listeners = listeners
        self._metrics = metrics
        self._announce = announce
        self._announced = False
        self._ended_s: float | None = None  # by when all have to have ended, once told to stop
        self._stopping = asyncio.Event()
        self._failure: str | None = None
        self._registry: Registry[Hall] = Registry()
        self._audience = Audience(self._registry)
        self._halls = Halls(settings, folder, metrics, self._give_up)
        self._loader = Loader(settings, self._first, self._registry, self._halls, self._audience.tell)
        self._changes: set[asyncio.Task[None]] = set()  # what changes which models are served
        module = "service.cluster.frontend"
        self._frontends = [
            Post(f"frontend-{index}", module, settings, (folder, listeners, index))
            for index in range(settings.frontends)
        ]
        self._keepers = [
            Keeper(
                post,
                started=partial(self._frontend_started, post, index),
                ended=partial(self._frontend_ended, post, index),
                died=metrics.restarted,
                beats=partial(metrics.beats, row_of_frontend(index)),
                limit_s=settings.engine_timeout_s,
            )
            for index, post in enumerate(self._frontends)
        ]

    async def run(self) -> int:
        """Start everything and keep it running; return the exit code: 0 when it was told to stop, else 1."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told_to_stop)
        self._change(self._load())
        keeping = [
            asyncio.create_task(keeper.keep(partial(self._heard, post)))
            for keeper, post in zip(self._keepers, self._frontends, strict=True)
        ]
        for each in keeping:
            each.add_done_callback(self._keeper_ended)
        try:
            await self._stopping.wait()
            for listener in self._listeners:
                listener.close()  # the frontends' own copies keep the port open until they close them
            await self._stop_in_order()
        finally:
            self._stopping.set()
            self._kill_all()
            await asyncio.gather(*keeping, *(hall.close() for hall in self._halls.living), return_exceptions=True)
        if self._failure is not None:
            logger.error("stopped: %s", self._failure)
        return 0 if self._failure is None else 1

    def _first(self) -> Mapping[Wanted, Artefact]:
        found = wanted(self._settings.artifacts, self._settings.model)
        # Each once, also where it was named twice: with its version, and as the highest.
        for artefact in dict.fromkeys(found.values()):
            self._halls.begin(artefact)
        return found

    async def _load(self) -> None:
        try:
            await self._loader.start()
        except StartError as error:
            self._give_up(str(error))
            return
        if all(hall.golden.fault is None for hall in self._registry.models):
            await self._loader.watch()

    def _change(self, what: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(what)
        self._changes.add(task)
        task.add_done_callback(self._change_ended)

    def _change_ended(self, task: asyncio.Task[None]) -> None:
        self._changes.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a change failed unexpectedly", exc_info=error)
            if not self._announced:
                self._give_up(f"unexpected failure: {error}")

    def _told_to_stop(self) -> None:
        if self._ended_s is not None or self._stopping.is_set():
            self._give_up("told to stop a second time")
            self._kill_all()
            return
        self._ended_s = time.monotonic() + self._settings.shutdown_timeout_s
        delay_s = self._settings.drain_delay_s if self._announced else 0.0
        logger.info("not ready any more; requests are answered for another %g s", delay_s)
        for post in self._frontends:
            post.send(Drain())
        asyncio.get_running_loop().call_later(delay_s, self._stopping.set)

    async def _stop_in_order(self) -> None:
        ended_s = self._ended_s or time.monotonic() + self._settings.shutdown_timeout_s
        for keeper in self._keepers:
            keeper.stop()
        for task in self._changes:
            task.cancel()
        left_s = ended_s - time.monotonic()
        reserve_s = min(_RESERVE_S, left_s / 4)
        await stop(self._frontends, left_s - reserve_s, reserve_s / 2)
        try:
            async with asyncio.timeout(max(0.0, ended_s - time.monotonic())):
                await asyncio.gather(*self._changes, return_exceptions=True)
                await self._loader.close()
        except TimeoutError:
            logger.warning("killing engines that have not ended")

    def _kill_all(self) -> None:
        for post in self._frontends:
            post.kill()
        for hall in self._halls.living:
            hall.kill()

    def _give_up(self, why: str) -> None:
        self._failure = self._failure or why
        self._stopping.set()

    def _keeper_ended(self, keeping: asyncio.Task[None]) -> None:
        if not keeping.cancelled() and (error := keeping.exception()) is not None:
            self._give_up(str(error))

    def _frontend_started(self, post: Post, index: int) -> None:
        # Until the first frontend answers it alone takes connections, to say that the service is starting: nobody
        # shall be told so by another when that one is ready.
        if index == 0 or self._announced:
            self._audience.admit(post)
        if self._ended_s is not None:
            post.send(Drain())

    def _frontend_ended(self, post: Post, index: int) -> None:
        for hall in self._halls.living:
            hall.frontend_gone(post, index)
        self._audience.gone(post)

    def _heard(self, post: Post, message: Message) -> None:
        match message:
            case Ready():
                self._ready(post)
            case Follows():
                self._audience.follows(post, message.number)
            case Left():
                for hall in self._halls.living:
                    if hall.number == message.model:
                        hall.left(post)
            case Asked():
                self._change(self._answer(post, message))
            case _:
                pass

    def _ready(self, post: Post) -> None:
        post.ready()
        if self._announced:
            return
        self._announced = True
        self._announce(self._registry.find().opened.promise.contract)
        for keeper in self._keepers:
            keeper.proven = True
        for other in self._frontends:
            if other is not post and other.lives:
                self._audience.admit(other)

    async def _answer(self, post: Post, asked: Asked) -> None:
        outcome: ServiceError | list[State] = Unavailable("the service is shutting down", retry_after_s=1.0)
        try:
            outcome = await self._outcome(asked)
        except ServiceError as error:
            outcome = error
        except Exception:
            logger.exception("%s %s failed unexpectedly", asked.what, asked.name)
            outcome = Unavailable("the supervisor failed; its log says why")
        finally:
            post.send(Told(asked.number, outcome))

    async def _outcome(self, asked: Asked) -> list[State]:
        if asked.what == "load":
            await self._loader.load(asked.name)
        elif asked.what == "unload":
            await self._loader.unload(asked.name)
        else:
            return await self._loader.states()
        return []
