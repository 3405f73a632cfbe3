"""What can go wrong for whoever asks: the service's own errors, and two that no service tells of.

ServiceError              service.errors: one class per status, the same that the service itself raises
├── BadRequest, Unauthorized, NotFound, TooLarge, UnsupportedImage, Unprocessable, CorruptImage, QueueFull, …
├── UnexpectedAnswer      something answered, but not as this service does: a proxy, or another program
└── Unreachable           nothing answered
"""

from __future__ import annotations

import email.utils
import time
from typing import TYPE_CHECKING, Any

from service.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

_MAX_QUOTED = 200  # characters of an answer that is not a problem document


class Unreachable(ServiceError):
    """Nobody answered: no such host, connection refused, or broken off."""

    title = "Unreachable"
    reason = "unreachable"


class UnexpectedAnswer(ServiceError):
    """Something answered, but not as the service does.

    Attributes:
        code: The HTTP status.
    """

    title = "Unexpected answer"
    reason = "unexpected"

    def __init__(self, detail: str, code: int) -> None:
        super().__init__(detail)
        self.code = code


def failure_of(response: httpx.Response) -> ServiceError:
    """Return the error that an answer tells of: a problem document (RFC 9457), or anything else."""
    try:
        problem: Any = response.json()
        detail, title = str(problem["detail"]), str(problem["title"])
    except (ValueError, KeyError, TypeError):
        return UnexpectedAnswer(f"HTTP {response.status_code}: {response.text[:_MAX_QUOTED]!r}", response.status_code)
    kind = _kind(response.status_code, title)
    if kind is None:
        return UnexpectedAnswer(f"HTTP {response.status_code}: {detail}", response.status_code)
    error = kind(detail, retry_after_s=_retry_after_s(response.headers.get("retry-after", "")))
    error.request_id = problem.get("request_id")
    return error


def _kind(status: int, title: str) -> type[ServiceError] | None:
    """Return the class of a status; of several, the one with this title."""
    kinds = [kind for kind in _kinds() if kind.status == status]
    return next((kind for kind in kinds if kind.title == title), kinds[0] if kinds else None)


def _kinds(kind: type[ServiceError] = ServiceError) -> Iterator[type[ServiceError]]:
    for child in kind.__subclasses__():
        if child not in (Unreachable, UnexpectedAnswer):
            yield child
            yield from _kinds(child)


def _retry_after_s(header: str) -> float | None:
    """Read seconds, or a date, as proxies may say it (RFC 9110, 10.2.3)."""
    if header.isascii() and header.isdecimal():
        return float(header)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None
