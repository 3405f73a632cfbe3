"""A bounded line of callers → batches → answers. Knows neither HTTP nor ONNX Runtime.

    reserve ──▶ (the caller decodes) ──▶ infer ──▶ line ──▶ batch ──▶ engine ──▶ rows, each to its own caller

Work-conserving: whenever a lane of the engine is free it takes what has waited longest; nothing waits for a
timer unless `max_queue_delay_s` says so, and nothing polls. Who hangs up or runs out of time leaves the line
at once, so dead work never reaches the engine. Everything here runs on one event loop and needs no locks.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from contextvars import Context
from typing import TYPE_CHECKING

from service.appointments import Appointments
from service.backend import ANYWHERE, Answer
from service.delivery import Part, deliver, fail, failure_of, unanswered
from service.errors import DeadlineExceeded, EngineLost, QueueFull, ServiceError, Unavailable
from service.line import Job, Line, level_of
from service.metrics import Metrics
from service.trace_context import TRACE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from service.backend import Images, Loan
    from service.cost import CostModel
    from service.lanes import Lanes, Threads
    from service.statistics import ModelCounts
    from service.tracing import Tracer

logger = logging.getLogger(__name__)


class Batcher:
    """Forms batches over all callers and gives each its own rows.

    Args:
        lanes: The engine.
        costs: Seconds per run by batch size, measured at warm-up; kept current here.
        max_batch_size: Images per run at most.
        queue_capacity: Images that may be waiting, or being decoded in order to wait, at the same time.
        max_queue_delay_s: How long a batch that is not full may wait for company; 0 for never.
        threads: The threads of the lanes where they decode as well. While all of them are busy decoding, a batch
            that is not worth a core yet goes on growing: it could not run anyway.
        counts: Where runs and dead work are counted.
        tracer: What traces runs, if anything does.
        clock: Monotonic seconds, the event loop's own time by default.
    """

    occupancy = None  # images wait in this process's own memory

    def __init__(
        self,
        lanes: Lanes,
        costs: CostModel,
        *,
        max_batch_size: int,
        queue_capacity: int,
        max_queue_delay_s: float = 0.0,
        threads: Threads | None = None,
        counts: ModelCounts | None = None,
        tracer: Tracer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lanes = lanes
        self._costs = costs
        self._max_batch_size = max_batch_size
        self._capacity = queue_capacity
        self._max_queue_delay_s = max_queue_delay_s
        self._clock = clock
        self._counts = counts or Metrics().model("", 0)
        self._tracer = tracer
        self._threads = threads
        if threads is not None:
            threads.on_idle.append(self._schedule)
        self._line = Line()
        self._appointments = Appointments(clock)
        self._reserved = 0
        self._busy_lanes = 0
        self._runs: set[asyncio.Task[None]] = set()
        self._wake: asyncio.Handle | None = None  # the next dispatch, when one is due on the loop's next turn
        self._patience: asyncio.TimerHandle | None = None  # ends the wait for company
        self._closed = False  # nobody is admitted any more
        self._turns_away = False  # nor is anybody answered who was admitted before
        self._lost = False  # because the engine does not work any more
        self._quiet = asyncio.Event()  # set when closed and nothing is left to answer

    @property
    def depth(self) -> int:
        """How many images hold a place: waiting, or being decoded in order to wait."""
        return self._reserved + self._line.images

    @property
    def unavailable(self) -> ServiceError | None:
        """Why nobody is admitted now, or None."""
        return self._refusal() if self._closed else None

    def expected_wait_s(self, images: int = 0) -> float:
        """Return how long a caller that comes now with `images` more images would wait for its answer."""
        at_once = 1 if self._lanes.pipelined else self._lanes.count
        running_s = self._costs.of(self._costs.best_size) / 2 if self._busy_lanes else 0.0
        return running_s + (self.depth + images) * self._costs.per_image / at_once

    def reserve(self, images: int, *, deadline_s: float = math.inf, priority: int = 0) -> Place:
        """Hold a place in line; see `service.backend.Backend.reserve`."""
        level = level_of(priority)
        if self._closed:
            raise self._refusal()
        if self.depth + images > self._capacity:
            raise QueueFull(
                f"{self.depth} of {self._capacity} places in the queue are taken",
                retry_after_s=self._appointments.wait_s(
                    self.expected_wait_s() / 2, self.expected_wait_s(images) - self.expected_wait_s()
                ),
            )
        if deadline_s != math.inf and self._clock() + self.expected_wait_s(images) > deadline_s:
            if not self.depth and not self._busy_lanes:
                self._costs.doubt()
            raise DeadlineExceeded("the deadline cannot be met: the queue is longer than that")
        self._reserved += images
        return Place(self, images, deadline_s, level)

    async def close(self, *, drain: bool = True) -> None:
        """Admit nobody any more; with `drain`, answer those in line first, else tell them so."""
        self._closed = True
        if not drain:
            self._turn_away()
        self._dispatch()  # whoever waited for company need not wait any more
        self._settle()
        await self._quiet.wait()
        if self._threads is not None and self._schedule in self._threads.on_idle:
            self._threads.on_idle.remove(self._schedule)

    def _turn_away(self) -> None:
        self._closed = self._turns_away = True
        for job in self._line.clear():
            fail(job, self._refusal())

    def _refusal(self) -> Unavailable:
        # A new one each time: an exception that is raised again keeps the frames of every time before.
        if self._lost:
            return EngineLost("the engine does not work any more and is being replaced", retry_after_s=1.0)
        return Unavailable("the service is shutting down", retry_after_s=1.0)

    def _settle(self) -> None:
        if self._closed and not self.depth and not self._busy_lanes:
            self._quiet.set()

    async def _infer(self, images: Images, deadline_s: float, level: int) -> Answer:
        loop = asyncio.get_running_loop()
        future, trace = loop.create_future(), TRACE.get()
        job = Job(images, future, arrived_s=self._clock(), deadline_s=deadline_s, level=level, trace=trace)
        if deadline_s != math.inf:
            job.timer = loop.call_later(deadline_s - job.arrived_s, self._expire, job)
        self._line.join(job)
        self._schedule()
        try:
            await job.future
        finally:
            self._counts.dropped("cancelled", self._line.leave(job))
            if job.timer is not None:
                job.timer.cancel()
            self._settle()
        assert job.rows is not None  # noqa: S101 - the future is resolved only once the rows are complete
        return Answer(job.rows, job.started_s - job.arrived_s, job.inference_s)

    def _expire(self, job: Job) -> None:
        self._counts.dropped("expired", self._line.leave(job))
        fail(job, DeadlineExceeded("the deadline passed before the answer was there"))

    def _schedule(self) -> None:
        # On the loop's next turn, so that callers who arrive in the same turn share a batch.
        waits = self._patience is not None and self._line.images < self._max_batch_size
        if self._wake is None and self._line.images and not waits and self._busy_lanes < self._lanes.count:
            self._wake = asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch(self) -> None:
        for due in (self._wake, self._patience):
            if due is not None:
                due.cancel()
        self._wake = self._patience = None
        while (size := self._next_size()) > 0:
            # One image and nothing else to do: every core may work on it.
            alone = not self._busy_lanes and self.depth == 1
            wide = self._lanes.can_widen and alone
            batch = self._form(size)
            if batch:
                self._start(batch, self._lanes.count if wide else 1)
            else:
                self._costs.doubt()

    def _next_size(self) -> int:
        """Return how many images the next run should take now; 0 for none."""
        waiting, free = self._line.images, self._lanes.count - self._busy_lanes
        if not waiting or not free:
            return 0
        if waiting < self._max_batch_size and self._wait_for_company():
            return 0
        if self._lanes.pipelined:
            # While the device computes, a batch that is not full yet can still grow for free.
            full = waiting >= self._max_batch_size
            return min(waiting, self._max_batch_size) if full or not self._busy_lanes else 0
        enough = min(self._max_batch_size, self._costs.best_size)
        idle = free if self._threads is None else min(free, self._threads.idle)
        return min(enough, math.ceil(waiting / free)) if idle or waiting >= enough else 0

    def _wait_for_company(self) -> bool:
        if not self._max_queue_delay_s or self._closed:
            return False
        left_s = self._line.oldest_s() + self._max_queue_delay_s - self._clock()
        if left_s <= 0:
            return False
        self._patience = asyncio.get_running_loop().call_later(left_s, self._dispatch)
        return True

    def _form(self, size: int) -> list[Part]:
        """Take up to `size` images from the line, dropping whoever cannot be answered in time any more."""
        batch: list[Part] = []
        latest_s = self._clock() + self._costs.of(1)
        while size and (job := self._line.next()) is not None:
            if job.deadline_s < latest_s:
                self._expire(job)
                continue
            start, stop = self._line.take(job, size)
            batch.append(Part(job, start, stop))
            size -= stop - start
        return batch

    def _start(self, batch: list[Part], lanes: int) -> None:
        self._busy_lanes += lanes
        # In a context of its own: what it logs is of no single request, least of all of the one that set it off.
        run = asyncio.get_running_loop().create_task(self._run(batch, lanes), context=Context())
        self._runs.add(run)
        run.add_done_callback(self._runs.discard)

    async def _run(self, batch: list[Part], lanes: int) -> None:
        images = [image for part in batch for image in part.job.images[part.start : part.stop]]
        started_s = self._clock()
        rows: NDArray[np.float32] | None = None
        failed: Sequence[Part] = batch
        error: BaseException = ValueError("the engine answered numbers that are not finite")
        # Whatever happens to a run, its callers must hear of it; CancelledError is an engine that was shut down.
        try:
            rows = await self._lanes.run(images, wide=lanes > 1)
            failed = unanswered(batch, rows)
        except (Exception, asyncio.CancelledError) as raised:
            rows, error = None, raised
        seconds = self._clock() - started_s
        if failed:
            self._fail(failed, error)  # before the next batch is formed, which would take the rest of their images
            if rows is not None:
                deliver(batch, rows, started_s, seconds)
                rows = None
            await self._examine(error)
        self._busy_lanes -= lanes
        self._dispatch()  # the engine goes on while the answers are handed out
        self._settle()
        if rows is not None:
            self._counts.ran(len(images), seconds)
            if self._tracer is not None:
                self._tracer.batch((part.job.trace for part in batch), len(images), seconds)
            if lanes == 1:
                self._costs.observe(len(images), seconds)
            deliver(batch, rows, started_s, seconds)

    def _fail(self, parts: Sequence[Part], error: BaseException) -> None:
        images = sum(part.stop - part.start for part in parts)
        cause = error if isinstance(error, Exception) and not isinstance(error, ServiceError) else None
        logger.error("%d images could not be answered: %r", images, error, exc_info=cause)
        failure = failure_of(error)
        for part in parts:
            self._line.leave(part.job)
            fail(part.job, failure)

    async def _examine(self, error: BaseException) -> None:
        """Find out whether the engine, whose run ended with `error`, still works; if not, admit nobody any more."""
        try:
            if isinstance(error, EngineLost):
                raise error
            if isinstance(error, Exception):
                await self._lanes.examine()
        except asyncio.CancelledError:
            pass  # the loop closes
        except EngineLost as lost:
            logger.error("the engine is lost: %s", lost)
            self._lost = True
            self._turn_away()


class Place:
    """A place in line, held while the caller prepares its images; leaving the block gives it back."""

    __slots__ = ("_batcher", "_deadline_s", "_images", "_level")

    def __init__(self, batcher: Batcher, images: int, deadline_s: float, level: int) -> None:
        self._batcher = batcher
        self._images = images
        self._deadline_s = deadline_s
        self._level = level

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        self._batcher._reserved -= self._images
        self._images = 0
        self._batcher._settle()

    def lend(self, index: int) -> Loan:
        """Images may be decoded to anywhere: this process reads them where they are."""
        return ANYWHERE

    async def infer(self, images: Images) -> Answer:
        """Stand in line; see `service.backend.Place.infer`."""
        if not 1 <= len(images) <= self._images:
            raise ValueError(f"{len(images)} images, but a place for {self._images}")
        if self._batcher._turns_away:
            raise self._batcher._refusal()
        # From here on the images count as waiting, not as reserved.
        self._batcher._reserved -= self._images
        self._images = 0
        return await self._batcher._infer(images, self._deadline_s, self._level)
