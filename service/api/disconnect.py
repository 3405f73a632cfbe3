"""Noticing that nobody waits for an answer any more: the client has hung up, or the time is over."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect

from service.errors import DeadlineExceeded

if TYPE_CHECKING:
    from types import TracebackType

    from starlette.types import Receive

# Watching costs a task. Whoever is answered sooner than this is not worth one: most clients at low load.
PATIENCE_S = 0.02
# The line knows the deadline too, and what it had to give up: it is to be the first to say so.
_AFTER_THE_LINE_S = 0.01


class WhileConnected:
    """Cancels what its block awaits once nobody waits for it, so that its place goes to somebody who does.

        with WhileConnected(receive, deadline_s) as client:
            body = await read(receive)
            client.sent_all()
            answer = await work(body)

    Works as `asyncio.timeout` does, with `http.disconnect` (ASGI specification, HTTP) beside the time; that is listened
    for once the body has been received. A deadline within the first moments is noticed after them.

    Args:
        receive: The request's ASGI channel.
        deadline_s: Time on `time.monotonic`.

    Raises:
        ClientDisconnect: the client hung up; nobody is left to answer.
        DeadlineExceeded: the deadline has passed.
    """

    __slots__ = (
        "_cancelling",
        "_deadline_s",
        "_late",
        "_reason",
        "_receive",
        "_received",
        "_task",
        "_timer",
        "_watcher",
    )

    def __init__(self, receive: Receive, deadline_s: float = math.inf) -> None:
        self._receive = receive
        self._deadline_s = deadline_s
        self._watcher: asyncio.Task[None] | None = None
        self._late = False  # the first moments are over
        self._received = False  # the whole body
        self._reason: Exception | None = None

    def sent_all(self) -> None:
        """Note that the whole body has been received."""
        self._received = True
        if self._late:
            self._listen()

    def __enter__(self) -> WhileConnected:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("to be used in a task")
        self._task = task
        self._cancelling = task.cancelling()
        self._timer = task.get_loop().call_later(PATIENCE_S, self._begin)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        if self._reason is None:
            return
        if self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise self._reason from None

    def _begin(self) -> None:
        self._late = True
        if self._deadline_s != math.inf:
            left_s = self._deadline_s - time.monotonic() + _AFTER_THE_LINE_S
            self._timer = self._task.get_loop().call_later(max(0.0, left_s), self._expire)
        if self._received:
            self._listen()

    def _listen(self) -> None:
        self._watcher = self._task.get_loop().create_task(self._watch())

    async def _watch(self) -> None:
        if (await self._receive())["type"] == "http.disconnect":
            self._give_up(ClientDisconnect())

    def _expire(self) -> None:
        self._give_up(DeadlineExceeded("the deadline passed before the answer was there"))

    def _give_up(self, reason: Exception) -> None:
        if self._reason is None:
            self._reason = reason
            self._task.cancel()
