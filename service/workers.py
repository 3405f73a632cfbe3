"""Blocking calls on threads, awaited from the event loop: decoding, and the engine's runs.

`concurrent.futures` does the same for nearly three times the CPU time a call (a lock and a condition for every future,
one wake-up of the loop for each; docs/performance.md), and calls here are as short as a third of a millisecond. So:
plain queues towards the threads, and on the way back one wake-up of the loop for however many calls have ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

# While there is more to do, the loop hears of calls that `run` queued in groups: each time it wakes up, a run loses its
# core and what it had in the caches. Of a run's end, and before a thread waits, the loop hears at once.
_TOGETHER = 4

P = ParamSpec("P")
T = TypeVar("T")


class _Call:
    """One call, on its way to a thread and back."""

    __slots__ = ("args", "error", "function", "future", "kwargs", "release", "result", "started")

    def __init__(self, function: Callable[..., Any], args: Any, kwargs: Any, future: asyncio.Future[Any]) -> None:
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.future = future
        self.started = False  # a thread has taken it
        self.result: Any = None
        self.error: BaseException | None = None
        self.release: Callable[[], None] | None = None  # to be called once the thread is done with it


class Workers:
    """A fixed number of threads for one event loop, started with the first call.

    Args:
        threads: How many.
        name: Prefix of the threads' names.

    Attributes:
        on_idle: Each is called on the loop whenever a thread has nothing to do any more.
    """

    def __init__(self, threads: int, name: str) -> None:
        self.on_idle: list[Callable[[], None]] = []
        self._threads = threads
        self._name = name
        self._urgent: deque[_Call] = deque()
        self._normal: deque[_Call] = deque()
        self._due: SimpleQueue[bool] = SimpleQueue()  # True for each call in the two above, False to end a thread
        self._ended: deque[_Call] = deque()
        self._outstanding = 0
        self._waking = False
        self._started = False

    @property
    def idle(self) -> int:
        """How many threads have nothing to do."""
        return max(0, self._threads - self._outstanding)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return `function(*args, **kwargs)`, called on one of the threads.

        A cancelled call that no thread has taken yet is never made. One that is being made goes on, for nobody: what it
        was given may still be in use when this is over.
        """
        result: T = await self._submit(self._normal, function, args, kwargs).future
        return result

    async def run_with(
        self, release: Callable[[], None], function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do as `run` does, and call `release` on the loop, once, when the function uses nothing any more.

        That is when it has ended, which may be after this was cancelled, or when it is clear that it never begins.
        """
        call = self._submit(self._normal, function, args, kwargs)
        call.release = release
        try:
            result: T = await call.future
        except asyncio.CancelledError:
            if not call.started:  # nor will it be made: whichever thread takes it finds it cancelled
                call.release = None
                release()
            raise
        return result

    async def run_first(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do as `run` does, before every call that `run` has queued.

        When cancelled it waits for nothing: that is a loop that closes, which a call that hangs must not prevent.
        """
        result: T = await self._submit(self._urgent, function, args, kwargs).future
        return result

    def _submit(self, queue: deque[_Call], function: Callable[..., Any], args: Any, kwargs: Any) -> _Call:
        loop = asyncio.get_running_loop()
        if not self._started:
            self._start(loop)
        call = _Call(function, args, kwargs, loop.create_future())
        self._outstanding += 1
        queue.append(call)
        self._due.put(True)
        return call

    def close(self) -> None:
        """Let the threads end once they have made the calls that wait."""
        for _ in range(self._threads):
            self._due.put(False)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._started = True
        for number in range(self._threads):
            threading.Thread(target=self._work, args=[loop], name=f"{self._name}-{number}", daemon=True).start()

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._take(loop):
            # There is a call for every True, in one or the other.
            urgent = True
            try:
                call = self._urgent.popleft()
                self._tell(loop)  # what has ended before need not wait for a run
            except IndexError:
                urgent, call = False, self._normal.popleft()
            call.started = True
            if not call.future.cancelled():
                try:
                    call.result = call.function(*call.args, **call.kwargs)
                except BaseException as error:  # it is the caller's, whatever it is
                    call.error = error
            self._ended.append(call)
            del call  # or it would keep what it was a call of until the next one: an engine that was unloaded
            if urgent or len(self._ended) >= _TOGETHER:
                self._tell(loop)
        self._tell(loop)

    def _take(self, loop: asyncio.AbstractEventLoop) -> bool:
        try:
            return self._due.get_nowait()
        except Empty:
            self._tell(loop)  # before this thread waits
            return self._due.get()

    def _tell(self, loop: asyncio.AbstractEventLoop) -> None:
        # The flag is lowered before the ended calls are taken, so none is ever left without a wake-up.
        if self._ended and not self._waking:
            self._waking = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._waking = False
        while self._ended:
            call = self._ended.popleft()
            self._outstanding -= 1
            if call.release is not None:
                call.release()
            if call.future.done():
                continue
            if call.error is not None:
                call.future.set_exception(call.error)
            else:
                call.future.set_result(call.result)
        if self._outstanding < self._threads:
            for on_idle in self.on_idle:
                on_idle()
