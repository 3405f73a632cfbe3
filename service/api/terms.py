"""What a request says of itself, beside its images: by when its answer is of use, and how it stands beside others."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from service.errors import Unprocessable
from service.line import DEFAULT_LEVEL, LEVELS

if TYPE_CHECKING:
    from starlette.types import Scope

_TIMEOUT, _PRIORITY = b"x-request-timeout-ms", b"x-request-priority"
_MAX_DIGITS = 9  # eleven days; what is longer than the service's own limit changes nothing anyway

PARAMETERS: list[dict[str, Any]] = [
    {
        "name": "X-Request-Timeout-Ms",
        "in": "header",
        "description": "Milliseconds after which the answer is of no use any more: then it is 504, at once where it "
        "cannot be there in time. Only ever shortens the service's own limit.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 10**_MAX_DIGITS - 1},
    },
    {
        "name": "X-Request-Priority",
        "in": "header",
        "description": f"1 (highest) to {LEVELS}; 0 for the default, {DEFAULT_LEVEL}. A level is worth a head start of "
        "half a second in the queue, so that nobody waits forever.",
        "schema": {"type": "integer", "minimum": 0, "maximum": LEVELS, "default": 0},
    },
]


class Terms(NamedTuple):
    """A request's terms.

    Attributes:
        deadline_s: Time on `time.monotonic` by which the answer must be there.
        priority: As `service.backend.Backend.reserve` takes it.
    """

    deadline_s: float
    priority: int


def terms_of(scope: Scope, timeout_s: float) -> Terms:
    """Return the terms of a request that has just arrived.

    Args:
        scope: The request's, as ASGI has it.
        timeout_s: The service's own limit, from which a client can only subtract.

    Raises:
        Unprocessable: a header does not say what it should.
    """
    priority = 0
    for name, value in scope["headers"]:
        if name == _TIMEOUT:
            timeout_s = min(timeout_s, _number(value, "X-Request-Timeout-Ms", "of milliseconds, 1 at least", 1) / 1000)
        elif name == _PRIORITY:
            priority = _number(value, "X-Request-Priority", f"from 0 to {LEVELS}", 0, LEVELS)
    return Terms(time.monotonic() + timeout_s, priority)


def _number(value: bytes, header: str, expected: str, least: int, most: int = 10**_MAX_DIGITS - 1) -> int:
    if not (value.isdigit() and len(value) <= _MAX_DIGITS and least <= int(value) <= most):
        raise Unprocessable(f"{header} must be a whole number {expected}")
    return int(value)
