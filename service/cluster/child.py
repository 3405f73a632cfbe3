"""One process as its parent sees it, and what every child does first."""

from __future__ import annotations

import asyncio
import importlib
import logging
import multiprocessing
import signal
import time
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

from service import logs
from service.cluster.control import Control

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.process import BaseProcess

    from service.cluster.control import Message
    from service.settings import Settings

logger = logging.getLogger(__name__)

# A fresh interpreter, never a fork: forked threads' locks and sockets would come along.
_SPAWN = multiprocessing.get_context("spawn")


def _run(module: str, settings: Settings, arguments: tuple[Any, ...]) -> None:
    logs.configure(settings)
    # Imported here and not by the parent, which needs neither ONNX Runtime nor an HTTP server.
    importlib.import_module(module).run(settings, *arguments)


def _start_unsignalled(process: BaseProcess) -> None:
    """Start `process` with SIGINT and SIGTERM blocked, from its first instruction on.

    Ctrl+C and some service managers signal the whole group, but the supervisor alone decides who stops when.
    """
    resource_tracker.ensure_running()  # starting it unblocks the same signals, so not inside
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


class Child:
    """A process that runs `run(*arguments, connection)` of a module, with the pipe to it.

    Attributes:
        control: This side of the pipe.
        ended: Resolved when the process has ended.
        pid: Its process id.
    """

    def __init__(
        self,
        name: str,
        module: str,
        arguments: tuple[Any, ...],
        settings: Settings,
        received: Callable[[Message], None],
    ) -> None:
        ours, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(
            target=_run, args=(module, settings, (*arguments, theirs)), name=name, daemon=True
        )
        _start_unsignalled(self._process)
        self.pid = self._process.pid
        self._code = 0  # once it has ended: of its exit, or negative that of the signal that killed it
        logger.info("%s is process %d", name, self.pid)
        theirs.close()  # or its end would never come
        self._started_s = time.monotonic()
        self._loop = asyncio.get_running_loop()
        self.control = Control(ours)
        self.control.listen(received, lambda: None)
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(self._process.sentinel, self._has_ended)

    @property
    def age_s(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._started_s

    @property
    def gave_up(self) -> bool:
        """Whether it ended by itself, and said that it could not do what it is for."""
        return self._code > 0

    @property
    def fate(self) -> str:
        """How it ended, in words."""
        code = self._code
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"

    def kill(self) -> None:
        """End it at once, if it has not ended."""
        if not self.ended.done():
            self._process.kill()

    def _has_ended(self) -> None:
        self._loop.remove_reader(self._process.sentinel)
        self._process.join()
        self._code = self._process.exitcode or 0
        self._process.close()
        self.control.close()
        self.ended.set_result(None)
