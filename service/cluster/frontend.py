"""A frontend's process: the HTTP server of the one-process shape, with its engines elsewhere."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from service.app import create_app
from service.card.model import CardModel
from service.cluster.arena import Arena
from service.cluster.client import Client
from service.cluster.control import Control, Drain, EngineDown, EngineUp, Message, Opened, Ready, Stop
from service.cluster.files import FilePlace
from service.cluster.messages import Sender
from service.cluster.tally import Tally, models_of
from service.model import Model
from service.server import Server
from service.threads import share_of_cores
from service.workers import Workers

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator
    from multiprocessing.connection import Connection
    from pathlib import Path

    from fastapi import FastAPI
    from starlette.types import Lifespan

    from service.cluster.arena import Board
    from service.repository import Artefact
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
    """A server whose models are ready once the supervisor has named an engine of each."""

    def __init__(self, settings: Settings, folder: Path, sender: Sender, control: Control) -> None:
        self._metrics = Tally(settings, folder).frontend(sender.frontend)
        app = create_app(settings, builder=self, metrics=self._metrics)
        super().__init__(settings, app)
        if sender != (0, 0):
            app.router.lifespan_context = self._loaded_first(app.router.lifespan_context)
        self._settings = settings
        self._sender = sender
        self._folder = folder
        self._control = control
        self._workers = Workers(settings.decode_threads, "decode")
        self._models = models_of(settings)
        self._opened: dict[int, Opened] = {}
        self._clients: dict[int, Client] = {}
        self._board: Board | None = None
        # Of each model, once there is an engine, or there will be none.
        self._connected: list[Future[None]] = [Future() for _ in self._models]

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
        if self._board is not None:
            self._board.beat(len(self._settings.devices) + self._sender.frontend)
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

    def build(self, artefact: Artefact) -> Model:
        """Return the model once there is an engine; see `service.loader.Builder`."""
        number = self._models.index(str(artefact))
        self._connected[number].result()
        promise = self._opened[number].promise
        kind = CardModel if self._settings.decoder == "gpu" else Model
        return kind(
            promise.contract,
            promise.version,
            promise.provider,
            self._clients[number],
            self._settings,
            self._metrics.model(promise.contract.name, promise.version),
            self._workers,
            golden=promise.golden,
        )

    def close(self) -> None:
        """End the threads, which models have in common."""
        self._workers.close()

    def _received(self, message: Message) -> None:
        match message:
            case Opened():
                self._open(message)
            case EngineUp() if message.model in self._clients:
                self._clients[message.model].connect(message.engine, message.address)
                if not self._connected[message.model].done():
                    self._connected[message.model].set_result(None)
            case EngineDown() if message.model in self._clients:
                self._clients[message.model].disconnect(message.engine, message.fault)
            case Drain():
                self._lifecycle.drain()
            case Stop():
                self._stop(message.within_s)
            case _:
                pass

    def _open(self, opened: Opened) -> None:
        arena = Arena.attach(opened.layout, opened.arena)
        if opened.model == 0:
            self._board = arena.board
        self._opened[opened.model] = opened
        place = FilePlace if opened.layout.file_bytes else None
        self._clients[opened.model] = Client(arena, self._sender, self._settings.queue_capacity, place)
        if opened.promise.golden.fault is not None:  # no engine will come: be there to say why
            self._connected[opened.model].set_result(None)

    def _stop(self, within_s: float) -> None:
        # Then nothing is in flight, and a thread waits for what will not come.
        if not all(connected.done() for connected in self._connected):
            logging.shutdown()
            os._exit(0)
        self.end_within(within_s)

    def _orphaned(self) -> None:
        logger.error("the supervisor is gone")
        shutil.rmtree(self._folder, ignore_errors=True)  # its to remove; the resource tracker unlinks the arena
        for client in self._clients.values():
            for engine in range(len(self._settings.devices)):  # they end too
                client.disconnect(engine)
        self._stop(self._settings.shutdown_timeout_s)
