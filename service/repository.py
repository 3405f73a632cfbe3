"""The model repository on disk: `DIR/NAME/VERSION/model.onnx`, the layout that Triton reads too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.errors import StartError

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "model.onnx"


class RepositoryError(StartError, ValueError):
    """The repository does not hold what was asked for; the message says what it holds."""


@dataclass(frozen=True)
class Artefact:
    """One file of the repository."""

    name: str
    version: int
    path: Path


def artefacts(repository: Path) -> list[Artefact]:
    """Return every artefact in `repository`, by name and then by version; folders of other shapes are ignored."""
    found = [
        Artefact(path.parent.parent.name, int(path.parent.name), path)
        for path in repository.glob(f"*/*/{FILE_NAME}")
        if path.parent.name.isdecimal() and not path.parent.parent.name.startswith(".")
    ]
    return sorted(found, key=lambda artefact: (artefact.name, artefact.version))


def find(repository: Path, model: str | None) -> Artefact:
    """Return the artefact that `model` means: `NAME:VERSION`, `NAME` (its highest version) or None (the only name).

    Raises:
        RepositoryError: there is no such artefact, or `model` is None and there are several names.
    """
    every = artefacts(repository)
    names = sorted({artefact.name for artefact in every})
    if not every:
        raise RepositoryError(f"no artefact in {repository}: make one with resnet-export")
    if model is None:
        if len(names) > 1:
            raise RepositoryError(f"{repository} holds {', '.join(names)}: choose one with --model")
        return every[-1]
    name, _, version = model.partition(":")
    matching = [artefact for artefact in every if artefact.name == name]
    if not matching:
        raise RepositoryError(f"no model {name!r} in {repository}, which holds {', '.join(names)}")
    if not version:
        return matching[-1]
    for artefact in matching:
        if str(artefact.version) == version:
            return artefact
    versions = ", ".join(str(artefact.version) for artefact in matching)
    raise RepositoryError(f"no version {version!r} of {name!r} in {repository}, which holds {versions}")
