"""Noticing that a client has hung up while its answer is being worked on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect

if TYPE_CHECKING:
    from types import TracebackType

    from starlette.types import Receive

# Watching costs a task. Whoever is answered sooner than this is not worth one: most clients at low load.
PATIENCE_S = 0.02


class WhileConnected:
    """Cancels what its block awaits once the client hangs up, so that its place goes to somebody who is there.

        with WhileConnected(receive):  # after the body was read
            answer = await work()

    Works as `asyncio.timeout` does, with `http.disconnect` (ASGI specification, HTTP) in the place of the time.

    Args:
        receive: The request's ASGI channel, from which the whole body has been received.

    Raises:
        ClientDisconnect: the client hung up; nobody is left to answer.
    """

    __slots__ = ("_cancelling", "_gone", "_receive", "_task", "_timer", "_watcher")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._watcher: asyncio.Task[None] | None = None
        self._gone = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("to be used in a task")
        self._task = task
        self._cancelling = task.cancelling()
        self._timer = task.get_loop().call_later(PATIENCE_S, self._begin)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        if self._gone and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise ClientDisconnect from None

    def _begin(self) -> None:
        self._watcher = self._task.get_loop().create_task(self._watch())

    async def _watch(self) -> None:
        if (await self._receive())["type"] == "http.disconnect":
            self._gone = True
            self._task.cancel()
