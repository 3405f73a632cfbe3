"""An engine's side of the line: submissions come in, one batcher serves them all, outcomes go out.

Batches form across frontends here. A job leaves when its caller cancels or its frontend is gone; its slots are
given back, with the outcome, only when no run reads them any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING

from service.cluster import messages
from service.cluster.messages import Outcome, Sender, Submission
from service.delivery import failure_of
from service.errors import ServiceError, Unavailable
from service.trace_context import TRACE

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from service.backend import Answer, Backend, Images
    from service.cluster.arena import Arena
    from service.lanes import Lanes

logger = logging.getLogger(__name__)


class WatchedLanes:
    """Lanes that know which images are being read now; see `service.lanes.Lanes` for the attributes.

    Attributes:
        images: How many images are in runs now.
        on_change: Called when a run starts or ends.
    """

    def __init__(self, lanes: Lanes) -> None:
        self.count = lanes.count
        self.pipelined = lanes.pipelined
        self.can_widen = lanes.can_widen
        self.images = 0
        self.on_change: Callable[[], None] = lambda: None
        self._lanes = lanes
        self._runs: dict[object, Images] = {}

    async def run(self, images: Images, *, wide: bool) -> NDArray[np.float32]:
        """Return the probabilities of `images`, (len(images), classes)."""
        run = object()
        self._runs[run] = images
        self.images += len(images)
        self.on_change()
        try:
            return await self._lanes.run(images, wide=wide)
        finally:
            del self._runs[run]
            self.images -= len(images)
            self.on_change()

    async def examine(self) -> None:
        """See `service.batcher.Lanes.examine`."""
        await self._lanes.examine()

    def reading(self, images: Images) -> bool:
        """Return whether a run reads any of these very arrays."""
        wanted = set(map(id, images))
        return any(id(image) in wanted for run in self._runs.values() for image in run)


class _Job:
    """One submission while it is here."""

    __slots__ = ("images", "number", "sender", "slots", "task")

    def __init__(self, sender: Sender, submission: Submission, images: Images, task: asyncio.Task[Answer]) -> None:
        self.sender = sender
        self.number = submission.number
        self.slots = submission.slots
        self.images = images
        self.task = task


class Desk:
    """Takes what frontends send, in whatever order, and answers each submission once.

    Args:
        backend: The batcher, in front of `lanes`.
        lanes: What the batcher runs on.
        arena: Where the pixels are and the rows go.
        send: Sends frames to frontends.
    """

    def __init__(
        self, backend: Backend, lanes: WatchedLanes, arena: Arena, send: Callable[[bytes, bytes], None]
    ) -> None:
        self._backend = backend
        self._lanes = lanes
        self._arena = arena
        self._send = send
        self._generations: dict[int, int] = {}  # the newest heard of, by frontend
        self._jobs: dict[Sender, dict[int, _Job]] = defaultdict(dict)
        self._held: list[_Job] = []  # done, but a run still reads their slots
        self._outbox: dict[Sender, list[bytes]] = {}

    def received(self, frames: list[bytes]) -> None:
        """Take a message from a frontend."""
        sender, message = Sender.from_bytes(frames[0]), frames[1]
        if not self._is_current(sender):
            return
        if message.startswith(messages.SUBMIT):
            for submission in messages.unpack_submissions(message):
                self._take(sender, submission)
        else:
            for number in messages.unpack_cancellations(message):
                if (job := self._jobs[sender].get(number)) is not None:
                    job.task.cancel()

    def forget(self, frontend: int, generation: int) -> None:
        """Drop what the dead process `generation` of `frontend`, or one before it, has left here."""
        self._generations[frontend] = max(self._generations.get(frontend, 0), generation + 1)
        for sender in [known for known in self._jobs if known.frontend == frontend and known.generation <= generation]:
            for job in self._jobs.pop(sender).values():
                job.task.cancel()

    def runs_changed(self) -> None:
        """Give back the slots that are read no longer."""
        held, self._held = self._held, []
        for job in held:
            self._done(job)

    def _is_current(self, sender: Sender) -> bool:
        """Tell whether `sender` lives, as far as is known; the first word of a successor says that it does not."""
        newest = self._generations.get(sender.frontend, 0)
        if sender.generation > newest:
            self.forget(sender.frontend, sender.generation - 1)
        return sender.generation >= newest

    def _take(self, sender: Sender, submission: Submission) -> None:
        images = [self._arena.image(slot) for slot in submission.slots]
        task = asyncio.get_running_loop().create_task(self._infer(submission, images))
        job = _Job(sender, submission, images, task)
        self._jobs[sender][submission.number] = job
        task.add_done_callback(partial(self._done, job))

    async def _infer(self, submission: Submission, images: Images) -> Answer:
        TRACE.set(submission.trace)  # of this task alone
        # Reserved here, not before: a task cancelled before its first step would never give its place back.
        with self._backend.reserve(
            len(images), deadline_s=submission.deadline_s, priority=submission.priority
        ) as place:
            return await place.infer(images)

    def _done(self, job: _Job, _: object = None) -> None:
        # By now whatever batch the job was taken into has begun its run: the run's task was made before this one
        # ended, and the loop calls in order. So what is not being read will not be.
        succeeded = not job.task.cancelled() and job.task.exception() is None
        if not succeeded and self._lanes.reading(job.images):
            self._held.append(job)
            return
        jobs = self._jobs.get(job.sender)
        if jobs is None or jobs.pop(job.number, None) is None:
            return  # its frontend is gone, and the slots may be a successor's
        if job.sender not in self._outbox:
            if not self._outbox:
                asyncio.get_running_loop().call_soon(self._flush)
            self._outbox[job.sender] = []
        self._outbox[job.sender].append(messages.pack_outcome(self._outcome(job)))

    def _outcome(self, job: _Job) -> Outcome:
        if job.task.cancelled():
            return Outcome(job.number, Unavailable("cancelled"))  # nobody reads this: it gives the slots back
        error = job.task.exception()
        if error is None:
            answer = job.task.result()
            for slot, row in zip(job.slots, answer.rows, strict=True):
                self._arena.rows[slot][:] = row
            return Outcome(job.number, None, answer.queue_s, answer.inference_s)
        if not isinstance(error, ServiceError):
            logger.error("a submission failed", exc_info=error)
        return Outcome(job.number, failure_of(error))

    def _flush(self) -> None:
        outbox, self._outbox = self._outbox, {}
        for sender, outcomes in outbox.items():
            self._send(sender.to_bytes(), b"".join(outcomes))
