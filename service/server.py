"""The HTTP server of one process: uvicorn, told what we know about our traffic."""

from __future__ import annotations

import asyncio
import math
import signal
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.server import HANDLED_SIGNALS

from service.announcement import announce
from service.listener import listen
from service.protocol import OneWriteProtocol

if TYPE_CHECKING:
    import socket

    from fastapi import FastAPI

    from service.lifecycle import Lifecycle
    from service.settings import Settings


class Server(uvicorn.Server):
    """Serves an app; says where once it would answer, and stops when there is nothing to serve."""

    def __init__(self, settings: Settings, app: FastAPI) -> None:
        self._lifecycle: Lifecycle = app.state.lifecycle
        self._announcing: asyncio.Task[None] | None = None
        self._failed = False
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                loop="uvloop",
                http=OneWriteProtocol,
                ws="none",
                log_config=None,
                log_level=settings.log_level,
                access_log=settings.access_log,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=math.ceil(settings.shutdown_timeout_s),
            )
        )

    def run_until_stopped(self) -> int:
        """Serve; return the exit code: 0 after a clean stop, 1 when there was nothing to serve.

        Raises:
            StartError: the port is taken, or the address is not one of this machine's.
        """
        # uvicorn in the end raises the signal that stopped it again, for whoever handled it before, which by default
        # would kill the process. Here that is the server itself, to whom it is nothing new.
        for number in HANDLED_SIGNALS:
            signal.signal(number, self.handle_exit)
        self.run([listen(self.config.host, self.config.port)])
        return 1 if self._failed or not self.started else 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and begin to watch the model being loaded."""
        await super().startup(sockets)
        self._announcing = asyncio.create_task(self._announce())

    async def _announce(self) -> None:
        model = await self._lifecycle.loaded()
        if model is None:
            self._failed = self.should_exit = True
            return
        if self.should_exit:
            return
        announce(model.contract, self.servers[0].sockets[0])
