"""The HTTP server of one process: uvicorn, told what we know about our traffic."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from functools import partial
from typing import TYPE_CHECKING, NoReturn, cast

import uvicorn
from uvicorn.server import HANDLED_SIGNALS

from service.announcement import announce
from service.connections import Connections, affordable
from service.lifecycle import Phase
from service.listener import listeners
from service.memory import set_aside_what_stays
from service.patience import Patience, PatientProtocol, quieten_protocol

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from types import FrameType

    from fastapi import FastAPI

    from service.lifecycle import Lifecycle
    from service.settings import Settings


logger = logging.getLogger(__name__)

_OWN_END_S = 1.0  # of the time to stop in, what the interpreter may take to end
_LAST_WORDS_S = 1.0  # for telling callers so


class Server(uvicorn.Server):
    """Serves an app; says where once it would answer, and stops when there is nothing to serve.

    signal ──▶ draining: not ready, still answering ──▶ the listener closes, what is in flight finishes ──▶ end
                └── drain_delay_s ──┘
    └────────────────────────────── shutdown_timeout_s ──────────────────────────────────────────────────┘

    Attributes:
        kept: The listeners, still open, where the process has lost its engine and another is to take its place.
    """

    def __init__(self, settings: Settings, app: FastAPI) -> None:
        self._lifecycle: Lifecycle = app.state.lifecycle
        self._settings = settings
        self._app = app
        self._drained_s: float | None = None  # when the listener closes, once the service drains
        self._ended_s = float("inf")  # when the process has to have ended
        self._announcing: asyncio.Task[None] | None = None
        self._failed = False
        self._listeners: list[socket.socket] = []
        self.kept: list[socket.socket] = []
        quieten_protocol()
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                loop="uvloop",
                http=cast("type[asyncio.Protocol]", self._protocol()),  # called as a class is
                timeout_keep_alive=cast("int", settings.keep_alive_timeout_s),  # or a part of a second
                ws="none",
                log_config=None,
                log_level=settings.log_level,
                access_log=False,  # service.api.access_log writes it
                proxy_headers=bool(settings.trusted_proxies),
                forwarded_allow_ips=list(settings.trusted_proxies),
                server_header=False,
            )
        )

    def run_until_stopped(self) -> int:
        """Serve; return the exit code: 0 after a clean stop, 1 when there was nothing to serve.

        Raises:
            StartError: the port is taken, or the address is not one of this machine's.
        """
        # Before uvicorn handles signals, and after, they mean the same.
        for number in HANDLED_SIGNALS:
            signal.signal(number, self.handle_exit)
        self._listeners = listeners(self._settings)
        self.run(self._listeners)
        code = 1 if self._failed or not self.started or self.kept else 0
        # A thread that is still in a run crashes when the runtime is torn down below it.
        if self._lifecycle.at_work and not self.kept:
            _leave(code, "stopped in the middle of a run")
        return code

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and begin to watch the model being loaded.

        Args:
            sockets: The service's, and where it has one of its own the management's.
        """
        set_aside_what_stays()
        service, management = (sockets or [])[:1], (sockets or [])[1:]
        await super().startup(service)
        for listener in management:
            self.servers.append(await asyncio.get_running_loop().create_server(self._management(), sock=listener))
        self._announcing = asyncio.create_task(self._announce())

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first SIGTERM or SIGINT, leave at once at the second."""
        if self.kept:  # it ends already, and now nobody shall take its place
            self.kept.clear()
            return
        if self._drained_s is not None or self.should_exit:
            _leave(1, "told to stop a second time")
        if self._lifecycle.phase is Phase.STARTING:  # nothing is in flight, and loading a model cannot be interrupted
            _leave(0, "stopped while starting")
        self._lifecycle.drain()
        self._drained_s = time.monotonic() + self._settings.drain_delay_s
        self._ended_s = time.monotonic() + self._settings.shutdown_timeout_s
        logger.info("not ready any more; requests are answered for another %g s", self._settings.drain_delay_s)

    def end_within(self, seconds: float) -> None:
        """Take no more connections from now on."""
        self._ended_s = time.monotonic() + seconds
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Note that the drain is over, or that the engine is lost; called ten times a second."""
        if self._lifecycle.lost and not self.should_exit:
            if self._drained_s is None:
                logger.error("a new process takes this one's place: its engine is lost")
                self.kept = [listener.dup() for listener in self._listeners]
            self.end_within(_LAST_WORDS_S)
        if self._drained_s is not None and time.monotonic() >= self._drained_s:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the listener, let what is in flight finish, tell those who would take too long."""
        left_s = max(0.0, min(self._ended_s - time.monotonic(), self._settings.shutdown_timeout_s))
        # Part of it is for the engine's last run, which cannot be interrupted.
        self._lifecycle.last_run_s = min(self._lifecycle.last_run_s, left_s / 4)
        spare_s = self._lifecycle.last_run_s + min(_OWN_END_S, left_s / 4)
        self.config.timeout_graceful_shutdown = cast("int", left_s - spare_s)
        await super().shutdown(sockets)

    def _protocol(self) -> partial[PatientProtocol]:
        """Return what makes the protocols of all connections to one port."""
        settings = self._settings
        return partial(
            PatientProtocol,
            patience=Patience(settings.header_timeout_s, settings.body_timeout_s),
            connections=Connections(affordable(settings.max_connections)),
            refused=self._app.state.metrics.turned_away,
        )

    def _management(self) -> Callable[[], PatientProtocol]:
        """Return what makes the protocols of connections to the port that is for management alone."""
        make = self._protocol()  # whose connections are counted by themselves

        def management() -> PatientProtocol:
            protocol = make(self.config, self.server_state, self.lifespan.state)
            protocol.app = self._app.state.management
            return protocol

        return management

    async def _announce(self) -> None:
        model = await self._lifecycle.loaded()
        if model is None:
            self._failed = self.should_exit = True
            return
        if self.should_exit or self._lifecycle.fault is not None:  # it stays, to say why it is not ready
            return
        announce(model.contract, [server.sockets[0] for server in self.servers])


def _leave(code: int, why: str) -> NoReturn:
    """End the process at once: whatever it still does, nobody waits for it."""
    logger.warning(why)
    logging.shutdown()
    os._exit(code)
