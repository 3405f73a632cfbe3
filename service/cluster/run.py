"""`resnet-serve --frontends N`: what must be there before the supervisor, and gone after it."""

from __future__ import annotations

import asyncio
import multiprocessing
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from service.announcement import announce
from service.cluster.child import configure_logging
from service.cluster.supervisor import Supervisor
from service.cluster.tally import Tally
from service.errors import StartError
from service.listener import listeners
from service.repository import wanted

if TYPE_CHECKING:
    from service.settings import Settings


def serve(settings: Settings) -> int:
    """Serve from several processes until told to stop; return the exit code: 0 after a clean stop.

    Raises:
        StartError: there is no such artefact, or the port is taken.
    """
    multiprocessing.current_process().name = "supervisor"
    configure_logging(settings.log_level)
    several = wanted(settings.artifacts, settings.model)
    if len(several) > 1 or settings.repository_poll_s:
        raise StartError("with --frontends one model is served, and not watched: leave out --repository-poll-s")
    artefact = next(iter(several.values()))
    # A version that is added later is for the next start: all processes serve the same one.
    settings = settings.model_copy(update={"model": f"{artefact.name}:{artefact.version}"})
    sockets = listeners(settings)
    # Only its owner may enter, so nobody else can talk to the sockets in it.
    with tempfile.TemporaryDirectory(prefix="resnet-serve-", ignore_cleanup_errors=True) as folder:
        supervisor = Supervisor(
            settings,
            Path(folder),
            sockets,
            Tally(settings, Path(folder)).share(),
            lambda opened: announce(opened.promise.contract, sockets),
        )
        return asyncio.run(supervisor.run())
