"""`resnet-serve --frontends N`: what must be there before the supervisor, and gone after it."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from service import logs
from service.announcement import announce
from service.cluster.supervisor import Supervisor
from service.cluster.tally import Tally
from service.errors import StartError
from service.listener import listeners
from service.repository import FILE_NAME, wanted

if TYPE_CHECKING:
    from typing import BinaryIO

    from service.repository import Artefact
    from service.settings import Settings


def serve(settings: Settings) -> int:
    """Serve from several processes until told to stop; return the exit code: 0 after a clean stop.

    Raises:
        StartError: there is no such artefact, they are to be replaced while they serve, or the port is taken.
    """
    multiprocessing.current_process().name = "supervisor"
    logs.configure(settings)
    if settings.repository_poll_s or settings.model_admin:
        raise StartError(
            "with --frontends what is there at the start is served, and nothing is loaded in its place: "
            "leave out --repository-poll-s and --model-admin"
        )
    # Each once, also where it was named twice: with its version, and as the highest.
    artefacts = list(dict.fromkeys(wanted(settings.artifacts, settings.model).values()))
    sockets = listeners(settings)
    # Only its owner may enter, so nobody else can talk to the sockets in it.
    with (
        contextlib.ExitStack() as files,
        tempfile.TemporaryDirectory(prefix="resnet-serve-", ignore_cleanup_errors=True) as folder,
    ):
        for artefact in artefacts:
            _keep(artefact, files.enter_context(artefact.path.open("rb")), Path(folder) / "artifacts")
        models = ",".join(map(str, artefacts))
        settings = settings.model_copy(update={"artifacts": Path(folder) / "artifacts", "model": models})
        supervisor = Supervisor(
            settings,
            Path(folder),
            sockets,
            Tally(settings, Path(folder)).share(),
            lambda opened: announce(opened.promise.contract, sockets),
        )
        return asyncio.run(supervisor.run())


def _keep(artefact: Artefact, file: BinaryIO, repository: Path) -> None:
    """Put `file` into a `repository` of the service's own, whatever becomes of the one it is from.

    All processes serve the same, also those that are started later in the place of others. What is added, replaced
    or removed meanwhile is for the next start.
    """
    path = repository / artefact.name / str(artefact.version) / FILE_NAME
    path.parent.mkdir(parents=True)
    path.symlink_to(f"/proc/{os.getpid()}/fd/{file.fileno()}")  # the file itself, under whatever name (proc(5))
