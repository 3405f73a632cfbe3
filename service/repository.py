"""The model repository on disk: `DIR/NAME/VERSION/model.onnx`, the layout that Triton reads too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from service.errors import StartError

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "model.onnx"
EVERY = "*"


class RepositoryError(StartError, ValueError):
    """The repository does not hold what was asked for; the message says what it holds."""


class Stamp(NamedTuple):
    """Tells a file from another that was put in its place."""

    inode: int
    size: int
    modified_ns: int


@dataclass(frozen=True)
class Artefact:
    """One file of the repository as it was found; equal to another only if the file is still the same."""

    name: str
    version: int
    path: Path
    stamp: Stamp | None = None

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"


@dataclass(frozen=True)
class Wanted:
    """What is to be served: a model in one version, or (None) always in the highest there is."""

    name: str
    version: int | None = None


def artefacts(repository: Path) -> list[Artefact]:
    """Return every artefact in `repository`, by name and then by version; folders of other shapes are ignored."""
    found = [
        Artefact(path.parent.parent.name, int(path.parent.name), path, stamp)
        for path in repository.glob(f"*/*/{FILE_NAME}")
        if path.parent.name.isdecimal() and not path.parent.parent.name.startswith(".")
        if (stamp := _stamp(path)) is not None
    ]
    return sorted(found, key=lambda artefact: (artefact.name, artefact.version))


def wanted(repository: Path, models: str | None) -> dict[Wanted, Artefact]:
    """Return what `models` means, in its order, each with the artefact that it is now.

    Args:
        repository: The model repository.
        models: Separated by commas: `NAME:VERSION`; `NAME`, its highest version; `*`, every name that has not been
            mentioned before. None means the only name that there is.

    Raises:
        RepositoryError: something of it is not there, or there are several names and `models` is None.
    """
    every = artefacts(repository)
    if not every:
        raise RepositoryError(f"no artefact in {repository}: make one with resnet-export")
    names = sorted({artefact.name for artefact in every})
    if models is None:
        if len(names) > 1:
            raise RepositoryError(f"{repository} holds {', '.join(names)}: choose one with --model")
        models = names[0]
    found: dict[Wanted, Artefact] = {}
    for part in models.split(","):
        mentioned = {each.name for each in found}
        for one in [name for name in names if name not in mentioned] if part == EVERY else [part]:
            artefact = _find(every, one, repository)
            found[Wanted(artefact.name, artefact.version if ":" in one else None)] = artefact
    return found


def find(repository: Path, model: str | None) -> Artefact:
    """Return the first artefact that `model` means; see `wanted`.

    Raises:
        RepositoryError: there is no such artefact.
    """
    return next(iter(wanted(repository, model).values()))


def current(every: list[Artefact], wanted: Wanted) -> Artefact | None:
    """Return what `wanted` is among `every`, sorted as `artefacts` does it; None if it is not there."""
    matching = [
        artefact for artefact in every if artefact.name == wanted.name and wanted.version in (None, artefact.version)
    ]
    return matching[-1] if matching else None


def _find(every: list[Artefact], model: str, repository: Path) -> Artefact:
    name, _, version = model.partition(":")
    matching = [artefact for artefact in every if artefact.name == name]
    if not matching:
        names = ", ".join(sorted({artefact.name for artefact in every}))
        raise RepositoryError(f"no model {name!r} in {repository}, which holds {names}")
    if not version:
        return matching[-1]
    for artefact in matching:
        if str(artefact.version) == version:
            return artefact
    versions = ", ".join(str(artefact.version) for artefact in matching)
    raise RepositoryError(f"no version {version!r} of {name!r} in {repository}, which holds {versions}")


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:  # gone since the folder was read
        return None
    return Stamp(found.st_ino, found.st_size, found.st_mtime_ns)
