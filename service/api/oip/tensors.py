"""Tensors from JSON and from binary: how many elements there must be is known, and checked, before any is made."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec
import numpy as np

from service.errors import BadRequest

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")

_PIECE = 1 << 18  # bytes of JSON between two chances for other threads: three milliseconds
_LENGTH = struct.Struct("<I")
_NOT_ELEMENTS = b"[] \t\r\n"

_numbers = msgspec.json.Decoder(list[Annotated[int, msgspec.Meta(ge=0, le=255)]])
_files = msgspec.json.Decoder(list[bytes])


def numbers_from_json(text: bytes, count: int) -> NDArray[np.uint8]:
    """Return the `count` elements of a UINT8 tensor, (count,), from its JSON, nested as its shape or flat.

    Args:
        text: Valid JSON.
        count: How many elements its shape has.

    Raises:
        BadRequest: it is not an array of as many whole numbers from 0 to 255.
    """
    _check_count(text, count)
    elements = bytearray()
    at = 0
    while at < len(text):
        # One comma parts two elements however they are nested, so that the text may be cut at any.
        comma = text.find(b",", at + _PIECE)
        end = len(text) if comma < 0 else comma
        piece: list[int] = _decoded(_numbers, text[at:end], "of whole numbers from 0 to 255")
        elements += bytes(piece)
        at = end + 1
    return np.frombuffer(elements, np.uint8)


def files_from_json(text: bytes, count: int) -> list[bytes]:
    """Return the `count` elements of a BYTES tensor from its JSON: files in base64.

    Args:
        text: Valid JSON.
        count: How many elements its shape has.

    Raises:
        BadRequest: it is not an array of as many strings in base64.
    """
    _check_count(text, count)
    files = _decoded(_files, text, "of files in base64")
    if len(files) != count:  # none has as many commas as one
        raise BadRequest(f"the tensor has {len(files)} elements, its shape says {count}")
    return files


def files_from_binary(data: memoryview, count: int) -> list[bytes]:
    """Return the `count` elements of a BYTES tensor from its binary form: each after its length, four bytes.

    Raises:
        BadRequest: there are more or fewer, or a length is wrong.
    """
    files: list[bytes] = []
    at = 0
    while at < len(data) and len(files) < count:
        start = at + _LENGTH.size
        if start > len(data):
            raise BadRequest(f"element {len(files)} of the tensor ends within its length")
        at = start + _LENGTH.unpack_from(data, at)[0]
        if at > len(data):
            raise BadRequest(f"element {len(files)} of the tensor is said to be longer than the tensor")
        files.append(bytes(data[start:at]))
    if len(files) < count or at < len(data):
        raise BadRequest(f"the tensor has {'more' if at < len(data) else len(files)} elements, its shape says {count}")
    return files


def _check_count(text: bytes, count: int) -> None:
    # JSON is valid by now, and neither numbers nor base64 contain commas: a string that does is refused later.
    found = text.count(b",") + 1
    if found != count:
        raise BadRequest(f"the tensor has {found} elements, its shape says {count}")


def _decoded(decoder: msgspec.json.Decoder[list[T]], text: bytes, of_what: str) -> list[T]:
    try:
        return decoder.decode(b"[" + text.translate(None, _NOT_ELEMENTS) + b"]")
    except msgspec.MsgspecError as error:
        raise BadRequest(f"the tensor's data are not an array {of_what}: {error}") from error
