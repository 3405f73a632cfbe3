"""One model as the supervisor sees it: its engines, where they listen, and the arena that they share with frontends.

opened ──▶ its engines load and warm up ──▶ warm: frontends are told ──▶ … ──▶ closed: once no frontend uses it
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING

from service.cluster.arena import Arena, Layout
from service.cluster.control import EngineDown, EngineUp, Failed, FrontendGone, Loaded, Message, Opened, Serving
from service.cluster.files import FILE_BYTES
from service.cluster.keeper import Keeper, stop
from service.errors import StartError
from service.threads import share_of_cores

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from service.cluster.post import Post
    from service.cluster.shelf import Pinned
    from service.cluster.tally import Rows
    from service.golden import GoldenResult
    from service.settings import Settings

logger = logging.getLogger(__name__)

_STOP_S = 1.0  # for an engine to end in that nobody waits for


class Hall:
    """One model, and whoever answers it; see `service.loader.Served`.

    Args:
        number: No other model of this service ever had it.
        pinned: The artefact.
        settings: Of the service.
        folder: Of the sockets.
        engines: One for each device, with the row of the ledger that it counts in.
        rows: Where those are from.
        died: Called with the kind of a process that has died and is replaced.
        lost: Called if its engines cannot be replaced once it serves.

    Attributes:
        closed: Whether all that it had is given back.
        warm: Done once every engine serves, or does not come out right here; failed with a `StartError` if one cannot.
    """

    def __init__(
        self,
        number: int,
        pinned: Pinned,
        settings: Settings,
        folder: Path,
        engines: dict[Post, int],
        rows: Rows,
        *,
        died: Callable[[str], None],
        lost: Callable[[str], None],
    ) -> None:
        self.number = number
        self.closed = False
        self.version = pinned.artefact.version
        self.warm: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pinned = pinned
        self._settings = settings
        self._folder = folder
        self._rows = rows
        self._engines = engines
        self._lost = lost
        self._opened: Opened | None = None
        self._arena: Arena | None = None
        self._addresses: dict[int, str] = {}  # of the engines that serve
        self._golden: dict[int, GoldenResult] = {}  # of those that have loaded
        self._examined: GoldenResult | None = None
        self._closing = False
        self._reason = ""  # why an engine could not start
        self._users: set[Post] = set()  # frontends that have been told of it
        self._unused = asyncio.Event()
        self._unused.set()
        self._keepers = [
            Keeper(
                post,
                started=partial(self._engine_started, post),
                ended=partial(self._engine_ended, index),
                died=died,
                beats=partial(rows.beats, row),
                limit_s=settings.engine_timeout_s,
            )
            for index, (post, row) in enumerate(engines.items())
        ]
        self._keeping: list[asyncio.Task[None]] = []

    @property
    def engines(self) -> list[Post]:
        """Its engines' places."""
        return list(self._engines)

    @property
    def opened(self) -> Opened:
        """What whoever uses it is told; not before an engine has loaded."""
        assert self._opened is not None  # noqa: S101 - see above
        return self._opened

    @property
    def golden(self) -> GoldenResult:
        """What golden images were answered when it was warm; the worst answer of its engines."""
        assert self._examined is not None  # noqa: S101 - see above
        return self._examined

    def open(self) -> None:
        """Start the engines."""
        for index, keeper in enumerate(self._keepers):
            keeping = asyncio.get_running_loop().create_task(keeper.keep(partial(self._heard, index)))
            keeping.add_done_callback(self._keeper_ended)
            self._keeping.append(keeping)

    def admit(self, frontend: Post) -> None:
        """Tell a frontend all that it needs to use this model, if it has not been told."""
        if frontend in self._users:
            return
        self._users.add(frontend)
        self._unused.clear()
        frontend.send(self.opened)
        for engine, address in self._addresses.items():
            frontend.send(EngineUp(self.number, engine, address))
        for engine, golden in self._golden.items():
            if golden.fault is not None:
                frontend.send(EngineDown(self.number, engine, golden.fault))

    def left(self, frontend: Post) -> None:
        """Note that a frontend uses this model no more."""
        self._users.discard(frontend)
        if not self._users:
            self._unused.set()

    def frontend_gone(self, frontend: Post, index: int) -> None:
        """Note that the process of a frontend has ended."""
        for engine in self._engines:
            engine.send(FrontendGone(index, frontend.generation))
        if self._arena is not None:
            self._arena.board.forget_frontend(index)
        self.left(frontend)

    async def close(self) -> None:
        """Wait until no frontend uses it any more, then end its engines and give back all that it has."""
        self._closing = True
        await self._unused.wait()
        for keeper in self._keepers:
            keeper.stop()
        await stop(self.engines, _STOP_S)
        await asyncio.gather(*self._keeping, return_exceptions=True)
        if self.closed:
            return
        self.closed = True
        if self._arena is not None:
            self._arena.unlink()
            self._arena = None
        for index, row in enumerate(self._engines.values()):
            self._rows.give_back(row)
            for socket in self._folder.glob(f"engine-{self.number}-{index}-*"):
                socket.unlink(missing_ok=True)
        self._pinned.release()

    def kill(self) -> None:
        """End its engines at once."""
        for post in self._engines:
            post.kill()

    def _engine_started(self, post: Post) -> None:
        if self._opened is not None:
            post.send(self._opened)

    def _engine_ended(self, engine: int) -> None:
        self._tell(EngineDown(self.number, engine))
        self._addresses.pop(engine, None)
        self._golden.pop(engine, None)
        if self._arena is not None:
            self._arena.board.set_running(engine, 0)

    def _heard(self, engine: int, message: Message) -> None:
        match message:
            case Loaded():
                self._loaded(engine, message)
            case Serving():
                self.engines[engine].ready()
                self._addresses[engine] = message.address
                self._tell(EngineUp(self.number, engine, message.address))
            case Failed():
                self._reason = self._pinned.in_words_of_the_repository(message.reason)
            case _:
                pass
        self._look_whether_warm()

    def _loaded(self, engine: int, loaded: Loaded) -> None:
        try:
            self._make_room(loaded)
        except StartError as error:
            self._fail(str(error))
            return
        self._golden[engine] = loaded.promise.golden
        if loaded.promise.golden.fault is not None:
            self._tell(EngineDown(self.number, engine, loaded.promise.golden.fault))

    def _make_room(self, loaded: Loaded) -> None:
        """Make the arena, once the first engine has said how large a slot must be; later ones must promise the same.

        Raises:
            StartError: there is no room for it, or they do not.
        """
        if self._opened is not None:
            if loaded.promise != self._opened.promise:
                raise StartError("an engine loaded another artefact than the first one: the file was replaced")
            return
        layout = _layout(self._settings, loaded)
        self._arena = Arena.create(layout)
        self._opened = Opened(self.number, loaded.promise, layout, self._arena.name)
        slots, mib = layout.slots, layout.bytes / 2**20
        logger.info("arena %s: %d slots, %.0f MiB; sockets in %s", self._arena.name, slots, mib, self._folder)
        for post in self._engines:
            post.send(self._opened)

    def _look_whether_warm(self) -> None:
        faulty = {engine for engine, golden in self._golden.items() if golden.fault is not None}
        if self.warm.done() or len(faulty | self._addresses.keys()) < len(self._engines):
            return
        for keeper in self._keepers:
            keeper.proven = True
        self._examined = min(self._golden.values(), key=lambda result: result.fault is None)
        self.warm.set_result(None)

    def _tell(self, message: EngineUp | EngineDown) -> None:
        for frontend in self._users:
            frontend.send(message)

    def _keeper_ended(self, keeping: asyncio.Task[None]) -> None:
        if not keeping.cancelled() and (error := keeping.exception()) is not None:
            self._fail(self._reason or str(error))

    def _fail(self, why: str) -> None:
        if self._closing:
            return
        if self.warm.done():
            self._lost(why)
        else:
            self.warm.set_exception(StartError(why))
            self.warm.exception()  # somebody may look at it later, or nobody


def _layout(settings: Settings, loaded: Loaded) -> Layout:
    # One frontend may get all the connections, so each has slots for all that may wait, decode or run at once in the
    # whole service, and for what its threads still decode for nobody: it never refuses for want of slots what the
    # queue has room for, and nobody shares a free list.
    in_runs = len(settings.devices) * loaded.lanes * settings.max_batch_size
    decoding = settings.decode_threads or share_of_cores(settings.frontends)
    contract = loaded.promise.contract
    return Layout(
        crop=contract.preprocessing.crop,
        classes=len(contract.labels),
        frontends=settings.frontends,
        engines=len(settings.devices),
        slots_each=settings.queue_capacity + in_runs + decoding,
        file_bytes=FILE_BYTES if settings.decoder == "gpu" else 0,
    )
