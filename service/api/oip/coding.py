"""Content codings (RFC 9110, 8.4.1): gzip and deflate of what comes in, bounded, and of what goes out, if asked for."""

from __future__ import annotations

import asyncio
import zlib
from typing import TYPE_CHECKING

from service.errors import BadRequest, TooLarge

if TYPE_CHECKING:
    from starlette.requests import Request

_WINDOW = {"gzip": 31, "deflate": 15}  # zlib's way to name a container; HTTP's deflate is in zlib's (RFC 9110, 8.4.1.2)
_WORTH_IT = 1024  # bytes; a smaller answer fits a packet anyway
_LONG = 1 << 16  # bytes; longer ones keep the event loop more than a millisecond
_LEVEL = 1  # probabilities hardly shrink further


async def decoded(request: Request, body: bytes, limit: int) -> bytes:
    """Return `body` without its Content-Encoding.

    Raises:
        BadRequest: it is in another coding, or malformed in its own.
        TooLarge: decoded, it has more than `limit` bytes; no more than these were made.
    """
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding in ("identity", ""):
        return body
    if coding not in _WINDOW:
        raise BadRequest(f"Content-Encoding {coding[:32]!r} is not understood: send gzip, deflate or identity")
    return await asyncio.to_thread(_inflated, body, coding, limit)


async def encoded(request: Request, body: bytes) -> tuple[bytes, dict[str, str]]:
    """Return `body` in a coding that its client accepts, and the headers that say so."""
    coding = _accepted(request.headers.get("accept-encoding", ""))
    if coding is None or len(body) < _WORTH_IT:
        return body, {}
    shorter = await asyncio.to_thread(_deflated, body, coding) if len(body) > _LONG else _deflated(body, coding)
    return shorter, {"Content-Encoding": coding, "Vary": "Accept-Encoding"}


def _accepted(header: str) -> str | None:
    """Return the first coding of ours that a client names and does not rule out by a weight of 0."""
    for part in header.split(","):
        coding, *parameters = part.replace(" ", "").lower().split(";")
        refused = any(parameter in ("q=0", "q=0.0", "q=0.00", "q=0.000") for parameter in parameters)
        if coding in _WINDOW and not refused:
            return coding
    return None


def _inflated(body: bytes, coding: str, limit: int) -> bytes:
    inflated = bytearray()
    rest = body
    try:
        while rest:  # gzip may have several members (RFC 1952, 2.2)
            inflater = zlib.decompressobj(_WINDOW[coding])
            inflated += inflater.decompress(rest, limit - len(inflated) + 1)
            if len(inflated) > limit:
                raise TooLarge(f"decompressed, the body is over the limit of {limit} bytes")
            if not inflater.eof:
                raise BadRequest(f"the body is not whole {coding}")
            rest = inflater.unused_data
    except zlib.error as error:
        raise BadRequest(f"the body is not {coding}: {error}") from error
    return bytes(inflated)


def _deflated(body: bytes, coding: str) -> bytes:
    deflater = zlib.compressobj(_LEVEL, wbits=_WINDOW[coding])
    return deflater.compress(body) + deflater.flush()
