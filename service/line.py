"""The waiting line: who is next, by priority and age, with everyone able to leave at once.

Priorities are Triton's: 1 is the highest, 0 means the default, which is the middle. A level is worth a head
start, not precedence: each step moves a job's place in line by `STEP_S` seconds of arrival. So a job of the
lowest level is passed only by those who came within `STEP_S × (levels − 1)` after it, and never starves.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from service.errors import Unprocessable
from service.trace_context import NONE

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

LEVELS = 5
DEFAULT_LEVEL = 3
STEP_S = 0.5


class Job:
    """The images of one caller, and where its answer goes.

    A job larger than a batch is taken in parts: `taken` images have been handed to the engine, `finished`
    have come back into `rows`.
    """

    __slots__ = (
        "arrived_s",
        "deadline_s",
        "finished",
        "future",
        "images",
        "inference_s",
        "level",
        "rows",
        "size",
        "started_s",
        "taken",
        "timer",
        "trace",
    )

    def __init__(
        self,
        images: Sequence[NDArray[np.uint8]],
        future: asyncio.Future[None],
        *,
        arrived_s: float,
        deadline_s: float,
        level: int,
        trace: bytes = NONE,
    ) -> None:
        self.images = images
        self.size = len(images)
        self.future = future
        self.arrived_s = arrived_s
        self.deadline_s = deadline_s
        self.level = level
        self.trace = trace  # which trace the caller belongs to
        self.taken = 0
        self.finished = 0
        self.started_s = arrived_s
        self.inference_s = 0.0
        self.rows: NDArray[np.float32] | None = None
        self.timer: asyncio.TimerHandle | None = None


def level_of(priority: int) -> int:
    """Return the level of a requested priority.

    Raises:
        Unprocessable: `priority` is not between 0 and `LEVELS`.
    """
    if not 0 <= priority <= LEVELS:
        raise Unprocessable(f"priority must be between 0 and {LEVELS}, not {priority}")
    return priority or DEFAULT_LEVEL


class Line:
    """Jobs that wait, oldest first within a level; every operation takes constant time.

    Attributes:
        images: How many images wait, over all jobs.
    """

    def __init__(self) -> None:
        # An OrderedDict is a queue from whose middle one can leave in constant time.
        self._levels: list[OrderedDict[Job, None]] = [OrderedDict() for _ in range(LEVELS)]
        self.images = 0

    def join(self, job: Job) -> None:
        """Put `job` at the end of its level."""
        self._levels[job.level - 1][job] = None
        self.images += job.size - job.taken

    def leave(self, job: Job) -> int:
        """Take `job` out, if it is still here; return how many of its images had not been taken."""
        if job not in self._levels[job.level - 1]:
            return 0
        del self._levels[job.level - 1][job]
        left = job.size - job.taken
        self.images -= left
        return left

    def next(self) -> Job | None:
        """Return the job at the head of the line, or None when nobody waits."""
        best: Job | None = None
        best_s = float("inf")
        for step, level in enumerate(self._levels):
            if level:
                job = next(iter(level))
                place_s = job.arrived_s + step * STEP_S
                if place_s < best_s:
                    best, best_s = job, place_s
        return best

    def oldest_s(self) -> float:
        """Return when the job that has waited longest arrived; infinity when nobody waits."""
        return min((next(iter(level)).arrived_s for level in self._levels if level), default=float("inf"))

    def take(self, job: Job, limit: int) -> tuple[int, int]:
        """Take up to `limit` images of `job`, which leaves once all are taken; return their range."""
        start = job.taken
        stop = min(job.size, start + limit)
        job.taken = stop
        self.images -= stop - start
        if stop == job.size:
            del self._levels[job.level - 1][job]
        return start, stop

    def clear(self) -> list[Job]:
        """Empty the line and return who waited."""
        jobs = [job for level in self._levels for job in level]
        for level in self._levels:
            level.clear()
        self.images = 0
        return jobs
