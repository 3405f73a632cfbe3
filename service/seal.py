"""A checksum that an artefact carries of itself: a bit that flips on a disk or on the way makes other answers of it.

ONNX has no field for one, so it stands in the file's metadata, and is computed with zeros in its own place. The
exporter writes it last; the service compares it before the runtime sees the file.
"""

from __future__ import annotations

import hashlib
import mmap
from typing import TYPE_CHECKING

from service.errors import StartError

if TYPE_CHECKING:
    from pathlib import Path

METADATA_KEY = "resnet.sha256"
BLANK = "0" * 64  # what the exporter puts there first: hexadecimal digits of a SHA-256
# The entry's key, then the tag of its value and the value's length (protobuf's encoding of StringStringEntryProto).
_BEFORE = METADATA_KEY.encode() + bytes([2 << 3 | 2, len(BLANK)])


class Damaged(StartError, ValueError):
    """The artefact is not what was written when it was exported."""


def seal(file: bytes) -> bytes:
    """Return an ONNX file whose metadata has `METADATA_KEY: BLANK` with the checksum in the place of the zeros.

    Raises:
        ValueError: there is no such entry.
    """
    at = _place(file)
    if at is None or file[at : at + len(BLANK)] != BLANK.encode():
        raise ValueError(f"no {METADATA_KEY} in the metadata to put the checksum in")
    return file[:at] + _digest(memoryview(file), at).encode() + file[at + len(BLANK) :]


def check(path: Path) -> bool:
    """Return whether the file carries a checksum, which then is the right one.

    Raises:
        Damaged: it is another one, or the file cannot be read.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            at = _place(content)
            if at is None:
                return False
            with memoryview(content) as view:
                right = _digest(view, at).encode() == view[at : at + len(BLANK)]
    except (OSError, ValueError) as error:  # a file of no bytes cannot be mapped
        raise Damaged(f"{path.resolve()} cannot be read: {error}") from error
    if not right:
        raise Damaged(
            f"{path.resolve()} is damaged: it is not what was written when it was exported. Copy it or export it again"
        )
    return True


def _place(file: bytes | mmap.mmap) -> int | None:
    """Return where the checksum stands, if there is room for one."""
    at = file.rfind(_BEFORE)  # the metadata comes after the weights
    return None if at < 0 or at + len(_BEFORE) + len(BLANK) > len(file) else at + len(_BEFORE)


def _digest(file: memoryview, at: int) -> str:
    sha256 = hashlib.sha256()
    for part in (file[:at], BLANK.encode(), file[at + len(BLANK) :]):
        sha256.update(part)
    return sha256.hexdigest()
