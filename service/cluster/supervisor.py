"""The parent of all processes: starts them, watches them, replaces the dead, stops them in order.

start   engines and frontends side by side; the first engine that has loaded says how large a slot must be
death   of an engine: frontends answer 503 at once, until its successor serves
        of a frontend: engines drop its jobs; the others go on taking connections from the shared socket
drain   frontends say that they are not ready, and go on answering for a while
stop    frontends finish what is in flight, then engines, then the arena and the sockets' folder go
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from functools import partial
from typing import TYPE_CHECKING

from service.cluster import pulse
from service.cluster.control import Drain, EngineDown, FrontendGone, Loaded, Ready, Serving, Stop
from service.cluster.hall import Hall
from service.cluster.post import Post
from service.cluster.tally import models_of
from service.errors import StartError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from service.cluster.control import Message, Opened
    from service.metrics import Metrics
    from service.settings import Settings

logger = logging.getLogger(__name__)

_FALSE_STARTS = 5  # deaths of one process before it was ready, in a row, after which the service gives up
_NO_ROOM_S = 0.5  # until the next try, where the machine has no room for another process
_RESERVE_S = 1.0  # of the time to stop in, what is for ending the engines and for killing who has not ended


class Supervisor:
    """Runs the service until told to stop.

    Args:
        settings: Of the service; its models named with their versions, so that every process serves the same.
        folder: Private, for the sockets.
        listeners: The listening sockets that all frontends share.
        metrics: Where deaths are counted.
        announce: Called once, with the default model, when the first frontend answers.
    """

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        listeners: list[socket.socket],
        metrics: Metrics,
        announce: Callable[[Opened], None],
    ) -> None:
        engine, frontend = "service.cluster.engine_process", "service.cluster.frontend"
        devices, models = len(settings.devices), len(models_of(settings))
        self._engines = [
            Post(f"engine-{index}", engine, settings, (folder, index)) for index in range(models * devices)
        ]
        self._halls = [
            Hall(number, settings, self._engines[number * devices : (number + 1) * devices]) for number in range(models)
        ]
        self._frontends = [
            Post(f"frontend-{index}", frontend, settings, (folder, listeners, index))
            for index in range(settings.frontends)
        ]
        self._settings = settings
        self._folder = folder
        self._listeners = listeners
        self._metrics = metrics
        self._announce = announce
        self._announced = False
        self._ended_s: float | None = None  # by when all have to have ended, once told to stop
        self._watches: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._failure: str | None = None

    async def run(self) -> int:
        """Start everything and keep it running; return the exit code: 0 when it was told to stop, else 1."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told_to_stop)
        every = [(hall, *each) for hall in self._halls for each in enumerate(hall.engines)]
        keepers = [asyncio.create_task(self._keep_engine(*each)) for each in every]
        keepers += [asyncio.create_task(self._keep_frontend(*each)) for each in enumerate(self._frontends)]
        for keeper in keepers:
            keeper.add_done_callback(self._keeper_ended)
        try:
            await self._stopping.wait()
            for watch in self._watches:
                watch.cancel()
            for listener in self._listeners:
                listener.close()  # the frontends' own copies keep the port open until they close them
            await self._stop_in_order()
        finally:
            self._stopping.set()
            self._kill_all()
            await asyncio.gather(*keepers, return_exceptions=True)
            for hall in self._halls:
                hall.close()
        if self._failure is not None:
            logger.error("stopped: %s", self._failure)
        return 0 if self._failure is None else 1

    def _told_to_stop(self) -> None:
        if self._ended_s is not None or self._stopping.is_set():
            self._give_up("told to stop a second time")
            self._kill_all()
            return
        self._ended_s = time.monotonic() + self._settings.shutdown_timeout_s
        delay_s = self._settings.drain_delay_s if self._announced else 0.0
        logger.info("not ready any more; requests are answered for another %g s", delay_s)
        self._tell(self._frontends, Drain())
        asyncio.get_running_loop().call_later(delay_s, self._stopping.set)

    async def _stop_in_order(self) -> None:
        ended_s = self._ended_s or time.monotonic() + self._settings.shutdown_timeout_s
        left_s = ended_s - time.monotonic()
        reserve_s = min(_RESERVE_S, left_s / 4)
        await _stop(self._frontends, left_s - reserve_s, reserve_s / 2)
        await _stop(self._engines, ended_s - time.monotonic())

    def _kill_all(self) -> None:
        for post in (*self._frontends, *self._engines):
            post.kill()

    def _give_up(self, why: str) -> None:
        self._failure = self._failure or why
        self._stopping.set()

    def _keeper_ended(self, keeper: asyncio.Task[None]) -> None:
        if not keeper.cancelled() and (error := keeper.exception()) is not None:
            self._give_up(f"a process could not be started: {error}")

    async def _start(self, post: Post, received: Callable[[Message], None]) -> bool:
        """Start the next process of a place, as soon as the machine has room for one; return False when stopping."""
        while not self._stopping.is_set():
            try:
                post.start(received)
            except OSError as error:  # no memory, descriptors or process numbers left (fork(2), pipe(2))
                if not self._announced:
                    raise
                logger.error("%s cannot be started now: %s", post.name, error)
                await self._pause(_NO_ROOM_S)
            else:
                return True
        return False

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _keep_engine(self, hall: Hall, index: int, post: Post) -> None:
        while await self._start(post, partial(self._heard_engine, hall, index)):
            if hall.opened is not None:
                post.send(hall.opened)
            await post.ended()
            self._tell(self._frontends, EngineDown(hall.number, index))
            hall.forget_engine(index)
            await self._mourn(post)

    async def _keep_frontend(self, index: int, post: Post) -> None:
        while await self._start(post, partial(self._heard_frontend, post)):
            for hall in self._halls:
                if hall.opened is not None:
                    post.send(hall.opened)
            if self._ended_s is not None:
                post.send(Drain())
            if index == 0 or self._announced:
                self._name_engines(post)
            await post.ended()
            self._tell(self._engines, FrontendGone(index, post.generation))
            for hall in self._halls:
                hall.forget_frontend(index)
            await self._mourn(post)

    async def _mourn(self, post: Post) -> None:
        """Say that a process died, and wait a while if that happens too often."""
        if self._stopping.is_set():
            return
        self._metrics.restarted(post.kind)
        logger.error("%s; starting another", post.obituary)
        if post.false_starts >= _FALSE_STARTS:
            self._give_up(f"{post.name} died {post.false_starts} times before it was ready")
        elif post.gave_up and not self._announced:  # nothing ever worked: it will not by itself
            self._give_up(f"{post.name} cannot start; its own message is above")
        await self._pause(post.pause_s())

    def _heard_engine(self, hall: Hall, index: int, message: Message) -> None:
        if isinstance(message, Loaded):
            self._open(hall, message)
            if message.promise.golden.fault is not None:
                self._tell(self._frontends, EngineDown(hall.number, index, message.promise.golden.fault))
        elif isinstance(message, Serving):
            hall.engines[index].ready()
            up = hall.serves(index, message.address)
            # Until the first frontend answers it alone takes connections, to say that the service is starting: nobody
            # shall be told so by another when that one is ready.
            self._tell(self._frontends if self._announced else self._frontends[:1], up)

    def _open(self, hall: Hall, loaded: Loaded) -> None:
        try:
            opened = hall.open(loaded)
        except StartError as error:
            self._give_up(str(error))
            return
        if opened is None:
            return
        slots, mib = opened.layout.slots, opened.layout.bytes / 2**20
        logger.info("arena %s: %d slots, %.0f MiB; sockets in %s", opened.arena, slots, mib, self._folder)
        self._tell((*hall.engines, *self._frontends), opened)
        # Frontends beat where the default model's engines do.
        posts = hall.engines if hall.number else [*hall.engines, *self._frontends]
        watch = pulse.watch(posts, hall.board, self._settings.engine_timeout_s)
        self._watches.append(asyncio.get_running_loop().create_task(watch))

    def _heard_frontend(self, post: Post, message: Message) -> None:
        if isinstance(message, Ready):
            post.ready()
            if not self._announced and (opened := self._halls[0].opened) is not None:
                self._announced = True
                self._announce(opened)
                for other in self._frontends:
                    if other is not post:
                        self._name_engines(other)

    def _name_engines(self, post: Post) -> None:
        for hall in self._halls:
            for up in hall.serving():
                post.send(up)

    def _tell(self, posts: Iterable[Post], message: Message) -> None:
        for post in posts:
            post.send(message)


async def _stop(posts: list[Post], within_s: float, grace_s: float = 0.0) -> None:
    for post in posts:
        post.send(Stop(within_s))
    ended = asyncio.gather(*(post.ended() for post in posts))
    try:
        await asyncio.wait_for(ended, within_s + grace_s)
    except TimeoutError:
        logger.warning("killing what has not ended after %.1f s", within_s + grace_s)
        for post in posts:
            post.kill()
