"""Bodies of twenty megabytes that ask for much; and, as `tests.service.costs` wants it, what reads them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from service.api.oip.request import parse

LIMIT = 20 * 1024 * 1024
CROP = 224
_HEAD = b'{"inputs": [{"name": "image", "datatype": "UINT8", "shape": '
_INPUT = b'{"inputs": [{"name": "image", "datatype": "UINT8", "shape": [0]}]'  # is refused when all else has been read


def bodies() -> Iterator[tuple[str, bytes]]:
    """Yield each with a name: first what is honest, then what is not."""
    yield "honest-numbers", _tensor(36, b"7")  # 5,419,008 of them
    yield "honest-long-numbers", _tensor(26, b"255")
    yield "wrong-numbers", _tensor(26, b"999")
    yield "wrong-count", _tensor(36, b"7", said=35)
    yield "wrong-strings", _tensor(26, b'"9"')
    yield "wrong-rows", _tensor(36, b"[]")
    yield "deep", _filled(_HEAD + b'[1], "data": ', b"[", b"")
    yield "inputs", _filled(b'{"inputs": [', b'{"name":"","datatype":"","shape":[],"data":[]},', b"0]}")
    yield "objects", _filled(b'{"inputs": [', b"{},", b"{}]}")
    yield "shape", _filled(_HEAD + b"[", b"1,", b"1]}]}")
    yield "parameters", _filled(_INPUT + b', "parameters": {"a": [', b"[],", b"[]]}}")
    yield "parameters-of-input", _filled(_INPUT[:-2] + b', "parameters": {"a": [', b"[],", b"[]]}}]}")
    yield "outputs", _filled(_INPUT + b', "outputs": [', b'{"name":""},', b'{"name":""}]}')
    yield "unknown", _filled(_INPUT + b', "unknown": [', b"[],", b"[]]}")
    yield "names", _filled(_INPUT, b',"a":0', b"}")


def handler() -> Callable[[bytes], object]:
    """Return what handles one body."""
    return lambda body: parse(body, len(body), CROP, 64)


def _tensor(images: int, element: bytes, said: int | None = None) -> bytes:
    shape = json.dumps([said or images, CROP, CROP, 3]).encode()
    count = images * CROP * CROP * 3
    body = _HEAD + shape + b', "data": [' + b",".join([element] * count) + b"]}]}"
    assert len(body) < LIMIT
    return body


def _filled(head: bytes, piece: bytes, tail: bytes) -> bytes:
    """Return JSON about as long as a body may be."""
    return head + piece * ((LIMIT - len(head) - len(tail)) // len(piece)) + tail
