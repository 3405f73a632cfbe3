"""Everything that can go wrong for a caller: one hierarchy, one class per HTTP status, one handler.

    ServiceError                     500  the base; never raised itself
    ├── BadRequest                   400  empty body, malformed multipart or JSON
    ├── Unauthorized                 401  no or wrong API key
    ├── Forbidden                    403  off, unless the service was started otherwise
    ├── NotFound                     404  unknown model or path
    ├── TooLarge                     413  body, or image once decoded, over the limit
    ├── UnsupportedImage             415  not an image, or a format that is not allowed
    ├── Unprocessable                422  a parameter out of range
    │   └── CorruptImage             422  an image, but truncated or corrupt
    │       └── NotDecoded           422  by a card, which has not the last word: the CPU tries it then
    ├── QueueFull                    429  + Retry-After
    ├── EngineFailed                 500  generic text; the log has the cause under the request's id
    ├── Unavailable                  503  + Retry-After: starting, draining, engine being replaced
    │   └── EngineLost               503  the engine hangs, or fails whatever it is given: only a new process helps
    └── DeadlineExceeded             504  passed, or cannot be met

Domain code raises these and knows nothing of HTTP; only the handler in `service.api.problems` turns them
into RFC 9457 bodies. `StartError` stands apart: it is for whoever starts the service, before there are callers.
"""

from __future__ import annotations

from typing import ClassVar


class StartError(Exception):
    """The service cannot start as it was asked to; the message says why, to whoever starts it."""


class ServiceError(Exception):
    """A failure that a caller is told about.

    Attributes:
        status: HTTP status code (RFC 9110).
        title: Short, constant summary of the kind of problem (RFC 9457 `title`).
        reason: What it is counted and logged as.
        detail: What happened this time, safe to show to the caller.
        retry_after_s: Seconds after which trying again makes sense, or None where it does not.
        request_id: Finds the request in the service's log, where a client was told of the failure.
    """

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    reason: ClassVar[str] = "failed"

    def __init__(self, detail: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.request_id: str | None = None


class BadRequest(ServiceError):
    """The request cannot be read: empty body, malformed multipart or JSON."""

    status = 400
    title = "Bad request"
    reason = "malformed"


class Unauthorized(ServiceError):
    """No API key, or a wrong one, where keys are set."""

    status = 401
    title = "Unauthorized"
    reason = "unauthorized"


class Forbidden(ServiceError):
    """Off, unless the service was started otherwise."""

    status = 403
    title = "Forbidden"
    reason = "unauthorized"


class NotFound(ServiceError):
    """Unknown path, model or version."""

    status = 404
    title = "Not found"
    reason = "not_found"


class TooLarge(ServiceError):
    """The body, or the image once decoded, is over the limit."""

    status = 413
    title = "Content too large"
    reason = "too_large"


class UnsupportedImage(ServiceError):
    """The bytes are not an image, or are one in a format that is not allowed."""

    status = 415
    title = "Unsupported image"
    reason = "undecodable"


class Unprocessable(ServiceError):
    """A parameter is out of range."""

    status = 422
    title = "Unprocessable request"
    reason = "invalid"


class CorruptImage(Unprocessable):
    """The bytes are an image of an allowed format, but truncated or corrupt."""

    title = "Corrupt image"
    reason = "undecodable"


class NotDecoded(CorruptImage):
    """A card could not decode it; told to nobody but the model, which then has the CPU try."""


class QueueFull(ServiceError):
    """The bounded queue has no room; `retry_after_s` says when it is expected to have some."""

    status = 429
    title = "Queue full"
    reason = "rejected"


class EngineFailed(ServiceError):
    """The engine raised or answered nonsense; the log has the cause."""

    status = 500
    title = "Inference failed"


class Unavailable(ServiceError):
    """Starting, draining, or the engine is being replaced."""

    status = 503
    title = "Service unavailable"
    reason = "unavailable"


class EngineLost(Unavailable):
    """The engine hangs, or fails whatever it is given; only a new process helps."""


class DeadlineExceeded(ServiceError):
    """The request's deadline has passed, or cannot be met."""

    status = 504
    title = "Deadline exceeded"
    reason = "expired"
