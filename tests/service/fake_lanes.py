"""An engine that computes nothing but whose answers identify their images, and that fails on demand."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from service.errors import EngineLost
from tests.service.virtual_time import now


class Fault(Enum):
    """How a run goes wrong."""

    RAISES = "raises"
    CANCELLED = "its thread pool was shut down"
    TOO_FEW_ROWS = "too few rows"
    TOO_MANY_ROWS = "too many rows"
    NOT_A_NUMBER = "nan"
    ONE_DIMENSION = "rows without columns"


@dataclass
class Run:
    """One run: which images it took, when, and how it went."""

    pictures: list[int]
    started_s: float
    wide: bool
    fault: Fault | None
    finished_s: float = float("inf")

    @property
    def spoilt(self) -> set[int]:
        """The images that it did not answer."""
        if self.fault is None:
            return set()
        return {self.pictures[-1]} if self.fault is Fault.NOT_A_NUMBER else set(self.pictures)


def picture(number: int) -> NDArray[np.uint8]:
    """Return an image (1, 1, 3) that is known by its pixel."""
    return np.array([[[number & 255, number >> 8 & 255, number >> 16]]], np.uint8)


def pictures(numbers: Iterable[int]) -> list[NDArray[np.uint8]]:
    """Return an image for each number."""
    return [picture(number) for number in numbers]


def number_of(image: NDArray[np.uint8]) -> int:
    """Return the number of the image that `picture` made."""
    return int(image[0, 0] @ np.array([1, 256, 65536]))


def rows_of(known: Sequence[int]) -> NDArray[np.float32]:
    """Return what the engine answers for the images of these numbers: (n, 2)."""
    return np.array([[number, -number] for number in known], np.float32)


def numbers(rows: NDArray[np.float32]) -> list[int]:
    """Return the numbers of the images that `rows` (n, 2) answer."""
    assert rows.ndim == 2
    assert (rows[:, 1] == -rows[:, 0]).all()  # each row is whole
    return rows[:, 0].astype(int).tolist()


class FakeThreads:
    """Implements `service.batcher.Threads`: cores that decode and run, runs first, as `service.workers` has them."""

    def __init__(self, count: int) -> None:
        self.on_idle: list[Callable[[], None]] = []
        self._count = count
        self._outstanding = 0
        self._working = 0
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._normal: deque[asyncio.Future[None]] = deque()

    @property
    def idle(self) -> int:
        return max(0, self._count - self._outstanding)

    async def work(self, seconds: float, *, urgent: bool = False) -> None:
        """Keep a core busy for `seconds`, once there is one."""
        turn = asyncio.get_running_loop().create_future()
        (self._urgent if urgent else self._normal).append(turn)
        self._outstanding += 1
        self._begin()
        try:
            await turn
            await asyncio.sleep(seconds)
        finally:
            self._outstanding -= 1
            self._working -= turn.done() and not turn.cancelled()
            self._begin()
            if self.idle:
                for on_idle in self.on_idle:
                    on_idle()

    def _begin(self) -> None:
        while self._working < self._count and (self._urgent or self._normal):
            turn = (self._urgent or self._normal).popleft()
            if not turn.cancelled():
                turn.set_result(None)
                self._working += 1


class FakeLanes:
    """Implements `service.lanes.Lanes`; a run of n images takes `seconds(n)`, on one of `threads` if there are."""

    def __init__(
        self,
        count: int = 1,
        *,
        pipelined: bool = False,
        can_widen: bool = False,
        seconds: Callable[[int], float] = lambda images: 0.010 + 0.001 * images,
        faults: Mapping[int, Fault] | None = None,
        threads: FakeThreads | None = None,
        lost: bool = False,
    ) -> None:
        self.count = count
        self.pipelined = pipelined
        self.can_widen = can_widen
        self.seconds = seconds
        self.faults = faults or {}
        self._work = threads.work if threads else _sleep
        self.runs: list[Run] = []
        self.taken: set[int] = set()  # the images of all runs
        self.busy = 0  # lanes
        self.examined = 0  # how often
        self.lost = lost

    async def run(self, images: Sequence[NDArray[np.uint8]], *, wide: bool) -> NDArray[np.float32]:
        lanes = self.count if wide else 1
        assert not wide or (self.can_widen and self.count > 1)
        assert self.busy + lanes <= self.count, "more runs at once than lanes"
        known = [number_of(image) for image in images]
        run = Run(known, now(), wide, self.faults.get(len(self.runs)))
        self.runs.append(run)
        self.taken.update(known)
        self.busy += lanes
        try:
            await self._work(self.seconds(len(images)), urgent=True)
        finally:
            self.busy -= lanes
            run.finished_s = now()
        rows = rows_of(known)
        return rows if run.fault is None else _spoilt(rows, run.fault)

    async def examine(self) -> None:
        self.examined += 1
        if self.lost:
            raise EngineLost("the device is gone")


async def _sleep(seconds: float, *, urgent: bool) -> None:
    await asyncio.sleep(seconds)


def _spoilt(rows: NDArray[np.float32], fault: Fault) -> NDArray[np.float32]:
    match fault:
        case Fault.RAISES:
            raise RuntimeError("the device is on fire")
        case Fault.CANCELLED:
            raise asyncio.CancelledError
        case Fault.TOO_FEW_ROWS:
            return rows[:-1]
        case Fault.TOO_MANY_ROWS:
            return np.concatenate([rows, rows[:1]])
        case Fault.NOT_A_NUMBER:
            return np.where(np.arange(len(rows))[:, None] == len(rows) - 1, np.float32("nan"), rows)
        case Fault.ONE_DIMENSION:
            return rows[:, 0]
