"""A frontend's process: the HTTP server of the one-process shape, with its engines elsewhere."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from service.app import create_app
from service.cluster.control import Control, Drain, Message, Ready, Stop
from service.cluster.follower import Follower
from service.cluster.messages import Sender
from service.cluster.tally import Tally
from service.lifecycle import Lifecycle
from service.registry import Registry
from service.server import Server
from service.threads import share_of_cores

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator
    from multiprocessing.connection import Connection
    from pathlib import Path

    from fastapi import FastAPI
    from starlette.types import Lifespan

    from service.model import Model
    from service.settings import Settings

logger = logging.getLogger(__name__)


def run(
    settings: Settings,
    folder: Path,
    listeners: list[socket.socket],
    index: int,
    generation: int,
    connection: Connection,
) -> None:
    """Be a frontend process until told to stop. The exit code is 1 if it never came to answer.

    Args:
        settings: Of the whole service.
        folder: Where the sockets are, the supervisor's to remove.
        listeners: The listening sockets that all frontends share.
        index: Which of the frontends.
        generation: The how-manyth process in this one's place.
        connection: This side of the pipe to the supervisor.
    """
    if not settings.decode_threads:  # the cores are for all frontends
        settings = settings.model_copy(update={"decode_threads": share_of_cores(settings.frontends)})
    sys.exit(Frontend(settings, folder, Sender(index, generation), Control(connection)).run_with(listeners))


class Frontend(Server):
    """A server whose models are those that the supervisor wants served."""

    def __init__(self, settings: Settings, folder: Path, sender: Sender, control: Control) -> None:
        self._metrics = Tally(settings, folder).frontend(sender.frontend)
        registry: Registry[Model] = Registry()
        self._follower = Follower(settings, sender, control, self._metrics, registry)
        app = create_app(settings, lifecycle=Lifecycle(registry, self._follower), metrics=self._metrics)
        super().__init__(settings, app)
        if sender != (0, 0):
            app.router.lifespan_context = self._loaded_first(app.router.lifespan_context)
        self._settings = settings
        self._folder = folder
        self._control = control

    def run_with(self, listeners: list[socket.socket]) -> int:
        """Serve what comes to `listeners`; return the exit code."""
        self.run(listeners)
        return 0 if self.started else 1

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to hear the supervisor, and to serve."""
        self._control.listen(self._received, self._orphaned)
        await super().startup(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Say that this process runs; called ten times a second."""
        self._metrics.beat()
        return await super().on_tick(counter)

    def _loaded_first(self, lifespan: Lifespan[FastAPI]) -> Lifespan[FastAPI]:
        # Only the very first takes connections before it can answer, to say that the service is starting: when one
        # of them is ready, no other shall say that.
        @asynccontextmanager
        async def loaded_first(app: FastAPI) -> AsyncIterator[None]:
            async with lifespan(app):
                await self._lifecycle.loaded()
                yield

        return loaded_first

    async def _announce(self) -> None:
        if await self._lifecycle.loaded() is not None and self._lifecycle.fault is None:
            self._control.send(Ready())

    def _received(self, message: Message) -> None:
        match message:
            case Drain():
                self._lifecycle.drain()
            case Stop():
                self._stop(message.within_s)
            case _:
                self._pass_on(message)

    def _pass_on(self, message: Message) -> None:
        try:
            self._follower.received(message)
        except Exception:  # whatever it is, who cannot follow would answer with what nobody wants any more
            logger.exception("the frontend cannot follow")
            logging.shutdown()
            os._exit(1)

    def _stop(self, within_s: float) -> None:
        if not self._follower.complete:  # then nothing is in flight, and what it waits for will not come
            logging.shutdown()
            os._exit(0)
        self.end_within(within_s)

    def _orphaned(self) -> None:
        logger.error("the supervisor is gone")
        shutil.rmtree(self._folder, ignore_errors=True)  # its to remove; the resource tracker unlinks the arena
        self._follower.orphaned()
        self._stop(self._settings.shutdown_timeout_s)
