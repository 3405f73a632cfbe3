"""An engine's process: load the artefact on one device, warm up, serve every frontend until told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from typing import TYPE_CHECKING, NoReturn

import uvloop

from service import local
from service.card.setup import decoding
from service.cluster.arena import Arena
from service.cluster.channel import Channel, bound
from service.cluster.control import Control, Failed, FrontendGone, Loaded, Message, Opened, Promise, Serving, Stop
from service.cluster.desk import Desk, WatchedLanes
from service.cluster.pulse import BEAT_S
from service.cluster.tally import Tally
from service.errors import EngineLost, StartError
from service.golden import examine
from service.lanes import EngineLanes
from service.tracing import tracer_of

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

    from service.backend import Backend
    from service.batcher import Batcher
    from service.cluster.seat import Seat
    from service.settings import Settings
    from service.tracing import Tracer

logger = logging.getLogger(__name__)


def run(settings: Settings, folder: Path, seat: Seat, generation: int, connection: Connection) -> None:
    """Be an engine process; never returns. The exit code is 1 if it could not serve.

    Args:
        settings: Of the whole service.
        folder: Where its socket goes.
        seat: What it is started for.
        generation: The how-manyth process in this one's place.
        connection: This side of the pipe to the supervisor.
    """
    if settings.provider == "cpu":
        _keep_to_its_cores(seat.place, len(settings.devices))
    address = f"ipc://{folder}/engine-{seat.model}-{seat.place}-{generation}"
    uvloop.run(_Process(settings, folder, seat, address, Control(connection)).run())


def _leave(code: int) -> NoReturn:
    """End the process at once: the sessions' own teardown may wait for a load or a run, or crash in a driver."""
    logging.shutdown()
    os._exit(code)


class _Process:
    def __init__(self, settings: Settings, folder: Path, seat: Seat, address: str, control: Control) -> None:
        self._settings = settings
        self._folder = folder
        self._seat = seat
        self._address = address
        self._control = control
        self._desk: Desk | None = None
        self._tracer: Tracer | None = None

    async def run(self) -> NoReturn:
        """Serve until told to stop, or until the engine is lost."""
        self._opened: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()
        self._control.listen(self._received, self._orphaned)
        try:
            await self._serve()
        except StartError as error:
            logger.error("the engine cannot start: %s", error)
            self._control.send(Failed(str(error)))
        except Exception as error:  # whatever it is, the supervisor decides
            logger.exception("the engine cannot start")
            self._control.send(Failed(f"unexpected failure: {error}"))
        _leave(1)

    async def _serve(self) -> None:
        artefact, device = self._seat.artefact, self._settings.devices[self._seat.place]
        engine = await asyncio.to_thread(local.load, artefact, self._settings, device)
        golden = await asyncio.to_thread(examine, engine)
        self._control.send(Loaded(Promise(engine.contract, artefact.version, engine.provider, golden), engine.lanes))
        if golden.fault is not None:
            logger.error("the engine serves nobody: %s", golden.fault)
            await asyncio.Event().wait()
        lanes = WatchedLanes(EngineLanes(engine, timeout_s=self._settings.engine_timeout_s))
        self._tracer = tracer_of(self._settings)
        metrics = Tally(self._settings, self._folder).join(self._seat.row)
        metrics.set_lanes(engine.lanes)
        counts = metrics.model(engine.contract.name, artefact.version)
        batcher = await asyncio.to_thread(local.warmed, engine, self._settings, counts, self._tracer, lanes)
        backend: Backend = batcher
        if self._settings.decoder == "gpu":
            backend = await asyncio.to_thread(decoding, batcher, engine, self._settings)
        opened = await self._opened
        arena = Arena.attach(opened.layout, opened.arena)
        self._listen(batcher, backend, lanes, arena)
        self._control.send(Serving(self._address))
        # The rest is called by the loop, until told to stop.
        while not isinstance(batcher.unavailable, EngineLost):
            metrics.beat()
            await asyncio.sleep(BEAT_S)

    def _listen(self, batcher: Batcher, backend: Backend, lanes: WatchedLanes, arena: Arena) -> None:
        def changed() -> None:
            # As if nobody waited: who reads the board adds those who do.
            run_s = batcher.expected_wait_s(-batcher.depth)
            image_s = batcher.expected_wait_s(1 - batcher.depth) - run_s
            arena.board.set_costs(self._seat.place, run_s, image_s)
            arena.board.set_running(self._seat.place, lanes.images)
            desk.runs_changed()

        frontends = Channel(bound(self._address), lambda frames: desk.received(frames))
        self._desk = desk = Desk(backend, lanes, arena, frontends.send)
        lanes.on_change = changed

    def _received(self, message: Message) -> None:
        match message:
            case Opened():
                self._opened.set_result(message)
            case FrontendGone() if self._desk is not None:
                self._desk.forget(message.frontend, message.generation)
            case Stop():
                if self._tracer is not None:
                    self._tracer.close()
                _leave(0)  # engines stop last: nobody is left to answer
            case _:
                pass

    def _orphaned(self) -> None:
        logger.error("the supervisor is gone")
        shutil.rmtree(self._folder, ignore_errors=True)  # its to remove; the resource tracker unlinks the arena
        _leave(1)


def _keep_to_its_cores(index: int, engines: int) -> None:
    """Divide the cores among engines that compute on them; where there are too few, they are shared."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[index::engines] or cores)
