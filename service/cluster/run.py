"""`resnet-serve --frontends N`: what must be there before the supervisor, and gone after it."""

from __future__ import annotations

import asyncio
import multiprocessing
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from service import logs
from service.announcement import announce
from service.cluster.supervisor import Supervisor
from service.cluster.tally import Tally
from service.listener import listeners

if TYPE_CHECKING:
    import socket

    from service.settings import Settings


def serve(settings: Settings) -> int:
    """Serve from several processes until told to stop; return the exit code: 0 after a clean stop.

    Raises:
        StartError: the port is taken, or there is no room to count in.
    """
    multiprocessing.current_process().name = "supervisor"
    logs.configure(settings)
    sockets = listeners(settings)
    # Only its owner may enter, so nobody else can talk to the sockets in it.
    with tempfile.TemporaryDirectory(prefix="resnet-serve-", ignore_cleanup_errors=True) as folder:
        return asyncio.run(_supervised(settings, Path(folder), sockets))


async def _supervised(settings: Settings, folder: Path, sockets: list[socket.socket]) -> int:
    metrics = Tally(settings, folder).share()
    supervisor = Supervisor(settings, folder, sockets, metrics, lambda contract: announce(contract, sockets))
    return await supervisor.run()
