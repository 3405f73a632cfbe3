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
from service.cluster.tally import Tally
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
    """A server whose model is ready once the supervisor has named an engine."""

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
        self._opened: Opened | None = None
        self._client: Client | None = None
        self._board: Board | None = None
        self._connected: Future[None] = Future()  # once there is an engine, or there will be none

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
        self._connected.result()
        assert self._opened is not None  # noqa: S101 - it came first
        assert self._client is not None  # noqa: S101
        promise = self._opened.promise
        assert promise.version == artefact.version  # noqa: S101 - the supervisor has named it to all
        workers = Workers(self._settings.decode_threads, "decode")
        kind = CardModel if self._settings.decoder == "gpu" else Model
        return kind(
            promise.contract,
            promise.version,
            promise.provider,
            self._client,
            self._settings,
            self._metrics.model(promise.contract.name, promise.version),
            workers,
            golden=promise.golden,
            release=workers.close,
        )

    def close(self) -> None:
        """There is nothing that models have in common."""

    def _received(self, message: Message) -> None:
        match message:
            case Opened():
                arena = Arena.attach(message.layout, message.arena)
                self._opened = message
                self._board = arena.board
                place = FilePlace if message.layout.file_bytes else None
                self._client = Client(arena, self._sender, self._settings.queue_capacity, place)
                if message.promise.golden.fault is not None:  # no engine will come: be there to say why
                    self._connected.set_result(None)
            case EngineUp() if self._client is not None:
                self._client.connect(message.engine, message.address)
                if not self._connected.done():
                    self._connected.set_result(None)
            case EngineDown() if self._client is not None:
                self._client.disconnect(message.engine, message.fault)
            case Drain():
                self._lifecycle.drain()
            case Stop():
                self._stop(message.within_s)
            case _:
                pass

    def _stop(self, within_s: float) -> None:
        if not self._connected.done():  # nothing is in flight, and a thread waits for what will not come
            logging.shutdown()
            os._exit(0)
        self.end_within(within_s)

    def _orphaned(self) -> None:
        logger.error("the supervisor is gone")
        shutil.rmtree(self._folder, ignore_errors=True)  # its to remove; the resource tracker unlinks the arena
        if self._client is not None:
            for engine in range(len(self._settings.devices)):  # they end too
                self._client.disconnect(engine)
        self._stop(self._settings.shutdown_timeout_s)
