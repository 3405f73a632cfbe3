"""Bodies of 20 MB that are forms or JSON and ask for much; `tests.service.costs` measures what reading one costs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from starlette.requests import Request

from service.api.body import read_images
from service.api.form import File, quieten_parser

LIMIT = 20 * 1024 * 1024  # bytes: the default
IMAGES = 64  # the default
PART = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'
END = b"\r\n--x--\r\n"
_FILL = LIMIT - 200


def envelopes() -> Iterator[tuple[str, bytes]]:
    yield from _forms()
    yield from _documents()


def _filled(head: bytes, unit: bytes, tail: bytes = b"") -> bytes:
    return head + unit * (_FILL // len(unit)) + tail


def _forms() -> Iterator[tuple[str, bytes]]:
    nameless = b"--x\r\nContent-Disposition: form-data"
    yield "form-parts", _filled(b"", PART)
    yield "form-fields", _filled(b"", b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n', END)
    yield "form-headers", _filled(b"--x\r\n", b"a:b\r\n")
    yield "form-long-header", _filled(b"--x\r\na:", b"b", b"\r\n\r\n" + END)
    yield "form-options", _filled(nameless, b"; a=b", b"\r\n\r\n" + END)
    yield "form-quotes", _filled(nameless + b'; name="', b'\\"', b'"\r\n\r\n' + END)
    yield "form-preamble", _filled(b"", b"\r\n", END)
    yield "form-epilogue", _filled(PART + b"body" + END, b"\0")
    yield "form-field", _filled(PART.replace(b"filename", b"field"), b"\0", END)
    for name, near in (("line", b"\r\n"), ("dashes", b"\r\n--"), ("other", b"\r\n--y"), ("boundary", b"\r\n--x-")):
        yield f"form-near-{name}", _filled(PART, near, END)
    yield "form-file", _filled(PART, b"\0", END)


def _documents() -> Iterator[tuple[str, bytes]]:
    for name, unit in (("strings", b'"",'), ("numbers", b"1,"), ("lists", b"[],"), ("objects", b"{},")):
        yield f"json-{name}", _filled(b'{"images":[', unit, b"1]}")
        yield f"json-other-{name}", _filled(b'{"other":[', unit, b"1]}")
    yield "json-members", _filled(b"{", b'"":1,', b'"images":[]}')
    yield "json-name", _filled(b'{"images":["AAAA"],"', b"a", b'":1}')
    yield "json-deep-lists", _filled(b"", b"[")
    yield "json-deep-objects", _filled(b"", b'{"a":')
    yield "json-digits", _filled(b'{"images":[', b"1", b"]}")
    yield "json-escapes", _filled(b'{"images":["', rb"\u0041", b'"]}')
    yield "json-letters", _filled(b'{"images":["', "é".encode(), b'"]}')
    yield "json-not-base64", _filled(b'{"images":["', b"!", b'"]}')
    yield "json-spaces", _filled(b"", b" ")


def read(body: bytes, *, chunk_bytes: int = LIMIT, limit: int = LIMIT) -> list[File]:
    """Read the images of a body, which comes in chunks, as the service does."""
    starts = iter(range(0, len(body), chunk_bytes))

    async def receive() -> dict[str, Any]:
        start = next(starts)
        more = start + chunk_bytes < len(body)
        return {"type": "http.request", "body": body[start : start + chunk_bytes], "more_body": more}

    kind = b"application/json" if body[:1] in (b"{", b"[", b" ") else b"multipart/form-data; boundary=x"
    request = Request({"type": "http", "method": "POST", "headers": [(b"content-type", kind)]}, receive)
    files: list[File] = []

    async def main() -> None:  # returns nothing: asyncio.run writes out what is returned
        files.extend(await read_images(request, limit, IMAGES))

    asyncio.run(main())
    return files


def handler() -> Callable[[bytes], object]:
    """Return what reads one, after it has read a small one, so that no import is counted."""
    quieten_parser()
    read(PART + b"body" + END)
    read(b'{"images":["AAAA"]}')
    return read
