"""Artefacts kept as they were found, for as long as they are served, whatever becomes of the repository."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from service.errors import StartError
from service.repository import FILE_NAME

if TYPE_CHECKING:
    from pathlib import Path

    from service.repository import Artefact


class Pinned:
    """One artefact, held open, under a path of the service's own.

    All processes that serve it read the same, also those that are started later in the place of others.

    Args:
        found: In the repository.
        folder: The service's own, for this artefact alone.

    Attributes:
        artefact: The same file, under a path that stays.

    Raises:
        StartError: it cannot be opened.
    """

    def __init__(self, found: Artefact, folder: Path) -> None:
        try:
            self._file = found.path.open("rb")
        except OSError as error:
            raise StartError(f"{found.path} cannot be read: {error.strerror}") from error
        self._found = found
        # The folders' names are in messages, and say which.
        path = folder / found.name / str(found.version) / FILE_NAME
        path.parent.mkdir(parents=True)
        path.symlink_to(f"/proc/{os.getpid()}/fd/{self._file.fileno()}")  # the file itself, under any name (proc(5))
        self._folders = [path.parent, path.parent.parent, folder]
        self.artefact = replace(found, path=path)

    def in_words_of_the_repository(self, message: str) -> str:
        """Return a message about the artefact with the path that its owner knows."""
        return message.replace(str(self.artefact.path), str(self._found.path))

    def release(self) -> None:
        """Let go of it."""
        self.artefact.path.unlink(missing_ok=True)
        for folder in self._folders:
            folder.rmdir()
        self._file.close()
