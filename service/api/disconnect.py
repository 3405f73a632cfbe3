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

    from starlette.types import Scope

# The line knows the deadline too, and what it had to give up: it is to be the first to say so.
_AFTER_THE_LINE_S = 0.01


class WhileConnected:
    """Cancels what its block awaits once nobody waits for it, so that its place goes to somebody who does.

        with WhileConnected(scope, deadline_s) as client:
            body = await read(receive)
            client.sent_all()
            answer = await work(body)

    Works as `asyncio.timeout` does, with the end of the connection beside the time. ASGI's way to hear of that,
    `http.disconnect`, takes a task that receives, and one that is cancelled leaves behind what only the collector of
    cycles finds. `service.protocol` calls instead; while the body is being received, whoever receives it hears of it.

    Args:
        scope: The request's, as ASGI has it.
        deadline_s: Time on `time.monotonic`.

    Raises:
        ClientDisconnect: the client hung up; nobody is left to answer.
        DeadlineExceeded: the deadline has passed.
    """

    __slots__ = ("_cancelling", "_deadline_s", "_reason", "_scope", "_task", "_timer")

    def __init__(self, scope: Scope, deadline_s: float = math.inf) -> None:
        self._scope = scope
        self._deadline_s = deadline_s
        self._timer: asyncio.TimerHandle | None = None
        self._reason: Exception | None = None

    def sent_all(self) -> None:
        """Note that the whole body has been received."""
        self._scope["on_hang_up"] = self._hang_up

    def __enter__(self) -> WhileConnected:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("to be used in a task")
        self._task = task
        self._cancelling = task.cancelling()
        if self._deadline_s != math.inf:
            left_s = self._deadline_s - time.monotonic() + _AFTER_THE_LINE_S
            self._timer = task.get_loop().call_later(max(0.0, left_s), self._expire)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._scope["on_hang_up"] = None
        if self._timer is not None:
            self._timer.cancel()
        if self._reason is None:
            return
        if self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise self._reason from None

    def _hang_up(self) -> None:
        self._give_up(ClientDisconnect())

    def _expire(self) -> None:
        self._give_up(DeadlineExceeded("the deadline passed before the answer was there"))

    def _give_up(self, reason: Exception) -> None:
        if self._reason is None:
            self._reason = reason
            self._task.cancel()
