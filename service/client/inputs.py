"""What a person names on the command line, as images: files, folders, lists of files, and what comes on stdin."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

STDIN = "-"
_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})


class InputError(Exception):
    """There is nothing to classify where a person said that there is."""


class Named(NamedTuple):
    """An image, and what to call it."""

    name: str
    image: Path | bytes


def gathered(paths: Sequence[str], files_from: str | None = None) -> list[Named]:
    """Return the images that are meant, in the order named; of a folder those in it and below, by name.

    Args:
        paths: Files and folders; `-` is an image that comes on stdin.
        files_from: A file with a path on each line; `-` for stdin.

    Raises:
        InputError: a path is not there, or a folder has no images.
        OSError: a list cannot be read.
    """
    found: list[Named] = []
    for path in [*paths, *_listed(files_from)]:
        found += [Named("stdin", sys.stdin.buffer.read())] if path == STDIN else _found(Path(path))
    return found


def _listed(files_from: str | None) -> list[str]:
    if files_from is None:
        return []
    text = sys.stdin.read() if files_from == STDIN else Path(files_from).read_text()
    return [line for line in text.splitlines() if line.strip()]


def _found(path: Path) -> Iterator[Named]:
    if not path.is_dir():
        if not path.exists():
            raise InputError(f"there is no {path}")
        yield Named(str(path), path)
        return
    images = [file for file in sorted(path.rglob("*")) if _is_image(file, path)]
    if not images:
        raise InputError(f"there are no images in {path}")
    yield from (Named(str(file), file) for file in images)


def _is_image(file: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return file.suffix.lower() in _SUFFIXES and not hidden and file.is_file()
