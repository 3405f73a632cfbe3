"""The HTTP server of one process: uvicorn, told what we know about our traffic."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from service.protocol import OneWriteProtocol

if TYPE_CHECKING:
    from fastapi import FastAPI

    from service.lifecycle import Lifecycle
    from service.settings import Settings

SAMPLE = Path(__file__).parent / "web" / "sample.jpg"


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
                timeout_graceful_shutdown=int(settings.shutdown_timeout_s),
            )
        )

    def run_until_stopped(self) -> int:
        """Serve; return the exit code: 0 after a clean stop, 1 when there was nothing to serve."""
        self.run()
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
        url = self._url()
        sample = SAMPLE.relative_to(Path.cwd()) if SAMPLE.is_relative_to(Path.cwd()) else SAMPLE
        print(f"Serving {model.contract.name} (weights: {model.contract.weights.name}) on {url}")
        print(f"Try it:  curl --data-binary @{sample} {url}/classify", flush=True)

    def _url(self) -> str:
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        if host in ("0.0.0.0", "::"):  # noqa: S104 - only recognised here
            host = "127.0.0.1"
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
