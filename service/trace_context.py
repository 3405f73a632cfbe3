"""Which trace a piece of work belongs to: W3C Trace Context (https://www.w3.org/TR/trace-context/), without a library.

A context is the 25 bytes of trace id, parent id and flags: what travels from a request to the batch it ends up in, also
between processes. No bytes mean that nobody traces.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

NONE = b""
TRACE: ContextVar[bytes] = ContextVar("trace", default=NONE)  # of what is being done now

_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-((?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")


def trace_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the trace id of a valid `traceparent` header, 32 hexadecimal digits, or None."""
    for name, value in headers:
        if name == b"traceparent":
            found = _TRACEPARENT.fullmatch(value.strip())
            return found[1].decode() if found else None
    return None
