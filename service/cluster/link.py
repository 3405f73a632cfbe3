"""A frontend's connection to one engine: submissions out, outcomes in, and whose they are."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from typing import TYPE_CHECKING, NamedTuple

from service.backend import Answer
from service.cluster import messages
from service.cluster.channel import Channel, connected
from service.cluster.messages import Submission
from service.errors import DeadlineExceeded, Unavailable
from service.trace_context import TRACE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.cluster.messages import Sender
    from service.cluster.slots import Slots


class _Pending(NamedTuple):
    slots: Sequence[int]
    future: asyncio.Future[Answer]  # done already, if its caller hung up or ran out of time


class Link:
    """What one engine process has been asked and has not answered.

    Args:
        engine: Which engine.
        address: Where this process of it, and no other, listens.
        sender: Who asks.
        slots: Where slots go once they are answered.
    """

    def __init__(self, engine: int, address: str, sender: Sender, slots: Slots) -> None:
        self.engine = engine
        self.closed = False
        self._slots = slots
        self._pending: dict[int, _Pending] = {}
        self._numbers = itertools.count()
        self._submissions: list[bytes] = []
        self._cancellations: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._channel = Channel(connected(address, sender.to_bytes()), self._received)

    async def infer(self, slots: Sequence[int], deadline_s: float, priority: int) -> Answer:
        """Have the images in `slots` classified; from here on the slots are the link's to give back.

        Raises:
            ServiceError: what the engine said, or that it died, or the deadline passed.
        """
        number = next(self._numbers)
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._pending[number] = _Pending(slots, future)
        self._schedule_flush()
        submission = Submission(number, deadline_s, priority, tuple(slots), TRACE.get())
        self._submissions.append(messages.pack_submission(submission))
        # The engine watches the deadline too; this holds even if it hangs.
        timer = None
        if deadline_s != math.inf:
            timer = self._loop.call_later(deadline_s - time.monotonic(), _expire, future)
        try:
            return await future
        except asyncio.CancelledError:
            if number in self._pending:
                self._schedule_flush()
                self._cancellations.append(messages.pack_cancellation(number))
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def close(self, reason: str) -> None:
        """Stop using the engine, whose process has ended: tell its callers `reason` and free their slots."""
        self._channel.drain()  # answers that it gave before it died are good
        self._channel.close()
        self.closed = True
        for slots, future in self._pending.values():
            self._slots.give_back(slots, self.engine)
            if not future.done():
                future.set_exception(Unavailable(reason, retry_after_s=1.0))
        self._pending.clear()

    def _schedule_flush(self) -> None:
        # At the end of this turn of the loop, so that all that is asked in it goes as one message.
        if not self._submissions and not self._cancellations:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._submissions:
            self._channel.send(messages.SUBMIT + b"".join(self._submissions))
            self._submissions.clear()
        if self._cancellations:  # after the submissions, one of which may be meant
            self._channel.send(messages.CANCEL + b"".join(self._cancellations))
            self._cancellations.clear()

    def _received(self, frames: list[bytes]) -> None:
        for outcome in messages.unpack_outcomes(frames[0]):
            slots, future = self._pending.pop(outcome.number)
            if not future.done():
                if outcome.error is not None:
                    future.set_exception(outcome.error)
                else:
                    rows = self._slots.results(slots)
                    future.set_result(Answer(rows, outcome.queue_s, outcome.inference_s))
            self._slots.give_back(slots, self.engine)


def _expire(future: asyncio.Future[Answer]) -> None:
    if not future.done():
        future.set_exception(DeadlineExceeded("the deadline passed before the answer was there"))
