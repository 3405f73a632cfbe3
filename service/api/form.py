"""The files of a `multipart/form-data` body (RFC 7578) that is in memory already: nothing is copied but they."""

from __future__ import annotations

import logging
from typing import NamedTuple

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from service.errors import BadRequest, TooLarge

_MAX_FIELDS = 16  # beside the files: there are forms that send a few


class File(NamedTuple):
    """One encoded image of a request, with the name its sender gave it."""

    name: str | None
    body: bytes


def quieten_parser() -> None:
    """Keep the parser's remarks on malformed bodies out of the log: their senders are told."""
    logging.getLogger("python_multipart").setLevel(logging.ERROR)


def read_files(body: bytes, content_type: str, max_files: int) -> list[File]:
    """Return the files of a form, in the order sent; fields that are no files are passed over.

    Args:
        body: The whole body.
        content_type: The header that names the boundary.
        max_files: Most files that are taken.

    Raises:
        BadRequest: the body is malformed, or ends early.
        TooLarge: more than `max_files` files.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise BadRequest("malformed multipart body: its Content-Type names no boundary")
    # Each mark costs the parser a microsecond, though it be none in the end, and a body has room for millions.
    if body.count(b"--" + boundary) > max_files + _MAX_FIELDS + 2:
        raise TooLarge(f"more parts in the form than {max_files} files and {_MAX_FIELDS} fields")
    parts = _Parts()
    try:
        MultipartParser(boundary, parts.callbacks()).write(body)  # type: ignore[arg-type]  # a TypedDict
    except FormParserError as error:
        raise BadRequest("malformed multipart body") from error
    if not parts.ended:
        raise BadRequest("malformed multipart body: it ends early")
    if len(parts.files) > max_files:
        raise TooLarge(f"{len(parts.files)} files in the form, the limit is {max_files}")
    return parts.files


class _Parts:
    """What the parser calls as it meets the pieces of a body."""

    def __init__(self) -> None:
        self.files: list[File] = []
        self.ended = False
        self._begin()

    def callbacks(self) -> dict[str, object]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._name_header,
            "on_header_value": self._fill_header,
            "on_header_end": self._end_header,
            "on_part_data": self._add,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        self._header, self._value, self._disposition = b"", b"", b""
        self._pieces: list[memoryview] = []

    def _name_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _fill_header(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header, self._value = b"", b""

    def _add(self, data: bytes, start: int, end: int) -> None:
        self._pieces.append(memoryview(data)[start:end])

    def _end(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise BadRequest("malformed multipart body: a part without a name")
        if b"filename" in options:
            self.files.append(File(_decoded(options[b"filename"]), b"".join(self._pieces)))

    def _finish(self) -> None:
        self.ended = True


def _decoded(name: bytes) -> str:
    """UTF-8, as browsers send it, or what old clients do; whatever charset a sender claims is nobody's to run."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("latin-1")
