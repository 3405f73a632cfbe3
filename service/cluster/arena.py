"""The shared memory of one service: a board of counters, then the slots.

    board │ slot 0: pixels uint8 (crop, crop, 3) or a file, row float32 (classes,), up to a page's end │ slot 1 │ …

A frontend decodes into a slot of its own range; the engine reads it there and writes the row of probabilities
beside it. Each range has one owner and each cell of the board one writer, so that nothing is ever locked.
"""

from __future__ import annotations

import mmap
import os
import secrets
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.errors import StartError

_SHM = Path("/dev/shm")  # noqa: S108 - where Linux keeps POSIX shared memory (shm_overview(7))
_WORD = 8  # bytes of a cell of the board


class ArenaError(StartError):
    """The shared memory cannot be had; the message says what to do."""


@dataclass(frozen=True)
class Layout:
    """How the arena is divided.

    Attributes:
        crop: Side of an image in pixels.
        classes: Length of a row.
        frontends: How many frontends share it.
        engines: How many engines serve it.
        slots_each: Slots that each frontend has to itself.
        file_bytes: Longest file that a slot has room for instead of pixels; 0 for none.
    """

    crop: int
    classes: int
    frontends: int
    engines: int
    slots_each: int
    file_bytes: int = 0

    @property
    def pixels_bytes(self) -> int:
        """Bytes of one image."""
        return self.crop * self.crop * 3

    @property
    def row_offset(self) -> int:
        """Where in a slot its row begins: after the pixels or the file, at a multiple of a cache line."""
        return _round_up(max(self.pixels_bytes, self.file_bytes), 64)

    @property
    def length_offset(self) -> int:
        """Where in a slot the length of its file stands."""
        return _round_up(self.row_offset + self.classes * 4, _WORD)

    @property
    def stride(self) -> int:
        """Bytes from one slot to the next, whole pages."""
        return _round_up(self.length_offset + _WORD, mmap.PAGESIZE)

    @property
    def board_bytes(self) -> int:
        """Bytes of the board, whole pages."""
        return _round_up(_WORD * (self.frontends * self.engines + 3 * self.engines), mmap.PAGESIZE)

    @property
    def slots(self) -> int:
        """Slots of all frontends together."""
        return self.frontends * self.slots_each

    @property
    def bytes(self) -> int:
        """Bytes of the whole arena."""
        return self.board_bytes + self.slots * self.stride

    def slots_of(self, frontend: int) -> range:
        """Return the slots that belong to `frontend`."""
        return range(frontend * self.slots_each, (frontend + 1) * self.slots_each)


class Board:
    """Who has how many images where, and how fast each engine is; always current, read by everyone.

    A cell is an aligned word with a single writer: frontend `f` writes how many images it has given to or decodes
    for engine `e`, engine `e` how many are in its runs now and what they cost. A reader may see one cell a moment
    before another: what rests on the board is a foresight; the engine's own queue has the last word.
    """

    def __init__(self, memory: memoryview, layout: Layout) -> None:
        self._engines = layout.engines
        self._end = layout.frontends * layout.engines
        words = memory[: layout.board_bytes]
        self._counts = words.cast("q")  # outstanding (frontends, engines), then running (engines,)
        self._seconds = words[_WORD * (self._end + layout.engines) :].cast("d")  # (engines, 2)

    def add_outstanding(self, frontend: int, engine: int, images: int) -> None:
        """Count `images` more (or fewer) that `frontend` has given to `engine`, or decodes for it."""
        self._counts[frontend * self._engines + engine] += images

    def forget_frontend(self, frontend: int) -> None:
        """Count nothing for `frontend` any more, whose process is gone."""
        for engine in range(self._engines):
            self._counts[frontend * self._engines + engine] = 0

    def set_running(self, engine: int, images: int) -> None:
        """Say how many images are in the runs of `engine` now."""
        self._counts[self._end + engine] = images

    def set_costs(self, engine: int, run_s: float, image_s: float) -> None:
        """Say how long `engine` keeps a newcomer waiting: for the run that goes on, and for each image in line."""
        self._seconds[2 * engine] = run_s
        self._seconds[2 * engine + 1] = image_s

    def outstanding(self, engine: int) -> int:
        """Return how many images all frontends together have given to `engine`, or decode for it."""
        return sum(self._counts[engine : self._end : self._engines])

    def all_outstanding(self) -> int:
        """Return how many images all frontends together have given to any engine, or decode for it."""
        return sum(self._counts[: self._end])

    def waiting(self) -> int:
        """Return how many images hold a place in line, over all frontends and engines."""
        running = sum(self._counts[self._end : self._end + self._engines])
        return max(0, self.all_outstanding() - running)

    def expected_wait_s(self, engine: int, images: int = 0) -> float:
        """Return how long a caller with `images` images would wait for its answer from `engine`."""
        running = self._counts[self._end + engine]
        run_s, image_s = self._seconds[2 * engine], self._seconds[2 * engine + 1]
        waiting = max(0, self.outstanding(engine) - running)
        return (run_s if running else 0.0) + (waiting + images) * image_s


class Arena:
    """One process's view of the shared memory, which is unmapped when nothing looks into it any more.

    That may be a decoder which was left behind, so nobody closes it: the last view that is let go of does.

    Attributes:
        layout: How it is divided.
        name: By which other processes find it.
        board: The counters.
        pixels: Each slot's image, uint8 (crop, crop, 3).
        rows: Each slot's result, float32 (classes,).
        files: Each slot's room for pixels or a file, uint8 (n,).
        lengths: Of the file in each slot, in bytes; 0 where it holds pixels.
    """

    def __init__(self, layout: Layout, name: str, memory: memoryview) -> None:
        self.layout = layout
        self.name = name
        self.board = Board(memory, layout)
        start, shape = layout.board_bytes, (layout.slots, layout.crop, layout.crop, 3)
        strides = (layout.stride, layout.crop * 3, 3, 1)
        self.pixels: list[NDArray[np.uint8]] = list(np.ndarray(shape, np.uint8, memory, start, strides))
        start += layout.row_offset
        shape_of_rows = (layout.slots, layout.classes)
        self.rows: list[NDArray[np.float32]] = list(
            np.ndarray(shape_of_rows, np.float32, memory, start, (layout.stride, 4))
        )
        room = max(layout.pixels_bytes, layout.file_bytes)
        self.files: list[NDArray[np.uint8]] = list(
            np.ndarray((layout.slots, room), np.uint8, memory, layout.board_bytes, (layout.stride, 1))
        )
        start = layout.board_bytes + layout.length_offset
        self.lengths: NDArray[np.int64] = np.ndarray((layout.slots,), np.int64, memory, start, (layout.stride,))

    def image(self, slot: int) -> NDArray[np.uint8]:
        """Return what is in a slot: pixels, or a file (n,)."""
        length = int(self.lengths[slot]) if self.layout.file_bytes else 0
        return self.files[slot][:length] if length else self.pixels[slot]

    @classmethod
    def create(cls, layout: Layout) -> Arena:
        """Make a new arena, zeroed; its maker must `unlink` it.

        Raises:
            ArenaError: there is not enough shared memory.
        """
        name = f"resnet-serve-{secrets.token_hex(8)}"
        try:
            descriptor = os.open(_SHM / name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise ArenaError(f"no shared memory of {_mib(layout.bytes)}: {error.strerror}") from error
        # All processes of a service share one tracker, the supervisor's, since they are spawned by `multiprocessing`:
        # should the supervisor be killed, it unlinks the arena after the last of them.
        resource_tracker.register(f"/{name}", "shared_memory")
        try:
            # Claims every page now. A page that could not be had later would be a SIGBUS in whoever touches it.
            os.posix_fallocate(descriptor, 0, layout.bytes)
        except OSError as error:
            free = os.statvfs(_SHM)
            _unlink(name)
            raise ArenaError(
                f"{_SHM} is too small for {layout.slots} images: {_mib(layout.bytes)} are needed and "
                f"{_mib(free.f_bavail * free.f_frsize)} are free. Enlarge it (docker run --shm-size, or a Kubernetes "
                "emptyDir with medium: Memory), or lower --queue-capacity or --frontends"
            ) from error
        finally:
            os.close(descriptor)
        return cls.attach(layout, name)

    @classmethod
    def attach(cls, layout: Layout, name: str) -> Arena:
        """Open the arena `name`, made by another process."""
        with (_SHM / name).open("r+b") as file:
            return cls(layout, name, memoryview(mmap.mmap(file.fileno(), layout.bytes)))

    def unlink(self) -> None:
        """Remove it from the system; whoever still has it open keeps it until it ends."""
        _unlink(self.name)


def _unlink(name: str) -> None:
    (_SHM / name).unlink()
    resource_tracker.unregister(f"/{name}", "shared_memory")


def _round_up(size: int, unit: int) -> int:
    return -(-size // unit) * unit


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"
