"""One model as the supervisor sees it: its engines, where they listen, and the arena that they share with frontends."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from service.cluster.arena import Arena, Layout
from service.cluster.control import EngineUp, Opened
from service.cluster.files import FILE_BYTES
from service.errors import StartError
from service.threads import share_of_cores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.cluster.arena import Board
    from service.cluster.control import Loaded
    from service.cluster.post import Post
    from service.settings import Settings

logger = logging.getLogger(__name__)


class Hall:
    """One model, and whoever answers it.

    Args:
        number: Which of the service's models.
        settings: Of the service.
        engines: One for each device.

    Attributes:
        opened: What everybody is told, once the first engine has loaded.
    """

    def __init__(self, number: int, settings: Settings, engines: list[Post]) -> None:
        self.number = number
        self.engines = engines
        self.opened: Opened | None = None
        self._settings = settings
        self._arena: Arena | None = None
        self._addresses: dict[int, str] = {}  # of the engines that serve

    def open(self, loaded: Loaded) -> Opened | None:
        """Make the arena, and return what everybody is told; None of later engines, which must promise the same.

        Raises:
            StartError: there is no room for it, or they do not.
        """
        if self.opened is not None:
            if loaded.promise != self.opened.promise:
                raise StartError("an engine loaded another artefact than the first one: the file was replaced")
            return None
        layout = _layout(self._settings, loaded)
        self._arena = Arena.create(layout)
        self.opened = Opened(self.number, loaded.promise, layout, self._arena.name)
        return self.opened

    @property
    def board(self) -> Board:
        """The arena's; not before it is open."""
        assert self._arena is not None  # noqa: S101 - see above
        return self._arena.board

    def serves(self, engine: int, address: str) -> EngineUp:
        """Note that an engine serves, and return what frontends are told."""
        self._addresses[engine] = address
        return EngineUp(self.number, engine, address)

    def serving(self) -> Iterator[EngineUp]:
        """Yield what a frontend is told that was not there when the engines were ready."""
        for engine, address in self._addresses.items():
            yield EngineUp(self.number, engine, address)

    def forget_engine(self, engine: int) -> None:
        """Note that the process of an engine has ended."""
        self._addresses.pop(engine, None)
        if self._arena is not None:
            self._arena.board.set_running(engine, 0)

    def forget_frontend(self, frontend: int) -> None:
        """Note that the process of a frontend has ended."""
        if self._arena is not None:
            self._arena.board.forget_frontend(frontend)

    def close(self) -> None:
        """Give the shared memory back; every process has ended."""
        if self._arena is not None:
            self._arena.unlink()


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
