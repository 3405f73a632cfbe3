"""Put an artefact into the model repository, `DIR/NAME/VERSION/`, whole or not at all.

    NAME/.partial-3f9a01c2/   written and synced here: a name that no reader takes for a version
    NAME/2/                   the same folder, renamed: from one moment to the next, everything is there

A run that is killed leaves its folder behind. Each holds a lock on its own, which dies with it, so the next run
knows whose owner is gone and clears it away.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from export.errors import NotWritten
from service.repository import FILE_NAME

_PARTIAL = ".partial-"


@dataclass
class Staging:
    """A version in the making.

    Attributes:
        folder: Where to write its files.
        published: Where they are, once the `stage` block has ended without an error.
    """

    folder: Path
    published: Path = field(init=False)

    def write(self, name: str, data: bytes) -> None:
        """Write one file, down to the disk."""
        with (self.folder / name).open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


def latest_version(model: Path) -> int:
    """Return the highest version in a model's folder, complete or not; 0 where there is none."""
    if not model.is_dir():
        return 0
    return max((int(path.name) for path in model.iterdir() if path.name.isdecimal()), default=0)


def check(model: Path, version: int | None, *, replace: bool = False) -> None:
    """Find out before the long work what would stop `stage` after it.

    Raises:
        NotWritten: the version exists and is not to be replaced, or the folder cannot be written to.
    """
    if version is not None and not replace and (model / str(version) / FILE_NAME).exists():
        raise NotWritten(
            f"version {version} of {model.name} exists in {model.parent}: leave --version out for the next "
            "number, or replace it with --force"
        )
    nearest = next(folder for folder in (model, *model.absolute().parents) if folder.exists())
    if not nearest.is_dir():
        raise NotWritten(f"{nearest} is not a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise NotWritten(f"{nearest} is not writable")


@contextmanager
def stage(model: Path, version: int | None = None, *, replace: bool = False) -> Iterator[Staging]:
    """Make a version: write its files in the block; they appear together when it ends, or never.

    Args:
        model: The model's folder, `DIR/NAME`; made where it is missing.
        version: Its number; None takes the next one.
        replace: Whether an existing version may be replaced, file by file, each in one step.

    Yields:
        Where to write.

    Raises:
        NotWritten: the version exists, or the file system refused. What was there before is untouched.
    """
    made = [folder for folder in (model, *model.parents) if not folder.exists()]  # the deepest first
    try:
        model.mkdir(parents=True, exist_ok=True)
        with _partial_folder(model) as staging:
            yield staging
            _sync(staging.folder)
            with _locked(model):
                check(model, version, replace=replace)  # again: another run may have been faster
                staging.published = model / str(version or latest_version(model) + 1)
                _publish(staging.folder, staging.published)
            _sync(model)
    except OSError as error:
        raise NotWritten(f"cannot write to {model}: {error.strerror or error}; nothing was changed") from error
    finally:
        for folder in made:
            with suppress(OSError):  # not empty: something came of it
                folder.rmdir()


@contextmanager
def _partial_folder(model: Path) -> Iterator[Staging]:
    with _locked(model):  # nobody clears the new folder away before it is locked
        _clear_abandoned(model)
        folder = model / f"{_PARTIAL}{secrets.token_hex(4)}"
        folder.mkdir()  # with the modes that the user's umask gives: the service may run as somebody else
        own = _open(folder)
        _lock(own)
    try:
        yield Staging(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # gone already where it became a version
        os.close(own)


def _clear_abandoned(model: Path) -> None:
    for folder in model.glob(f"{_PARTIAL}*"):
        with suppress(OSError):  # its run has just cleared it away itself
            descriptor = _open(folder)
            try:
                if _lock(descriptor, wait=False):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


def _publish(folder: Path, version: Path) -> None:
    if not version.exists():
        folder.rename(version)
        return
    # The model last: whoever reads it finds what goes with it. An interruption leaves the older model.
    for path in sorted(folder.iterdir(), key=lambda path: path.name == FILE_NAME):
        path.replace(version / path.name)
    _sync(version)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = _open(folder)
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)  # which unlocks


def _lock(descriptor: int, *, wait: bool = True) -> bool:
    """Return whether the folder is now ours; not where another run has it, or it cannot be locked (over NFS)."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def _open(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)


def _sync(folder: Path) -> None:
    """Make the names in a folder last through a power cut."""
    descriptor = _open(folder)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
