"""What frontends and engines tell each other, byte by byte. Pixels and probabilities never travel: slots do.

    frontend ─▶ engine   b"S" submission*      images that wait in these slots, please
                         b"C" cancellation*    nobody wants this answer any more
    engine ─▶ frontend   outcome*              the rows are in the slots, or why not; the slots are yours again

Many submissions made in one turn of the event loop are one message, and so are the outcomes of one batch.
Integers and floats are little-endian, without padding.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, NamedTuple

from service.errors import (
    DeadlineExceeded,
    EngineFailed,
    EngineLost,
    NotDecoded,
    QueueFull,
    ServiceError,
    Unavailable,
    Unprocessable,
)
from service.trace_context import NONE

if TYPE_CHECKING:
    from collections.abc import Iterator

SUBMIT, CANCEL = b"S", b"C"

# number, deadline_s, priority, bytes of trace, images; then one uint32 slot per image, and the trace
_SUBMISSION = struct.Struct("<QdBBH")
_CANCELLATION = struct.Struct("<Q")  # number
# number, status, retry_after_s, queue_s, inference_s, bytes of detail, of cause; then detail, and cause
_OUTCOME = struct.Struct("<QBfffHH")
_SENDER = struct.Struct("<cHI")  # "F", frontend, generation

# A status is a place in this list; 0 is success. Only these can come out of a batcher.
_ERRORS: tuple[type[ServiceError] | None, ...] = (
    None,
    EngineFailed,
    DeadlineExceeded,
    QueueFull,
    Unavailable,
    Unprocessable,
    EngineLost,
    NotDecoded,
)
_LONGEST_CAUSE = 2000  # characters; some of ONNX Runtime's messages are pages
_STATUS = {error: status for status, error in enumerate(_ERRORS)}


class Sender(NamedTuple):
    """Which frontend, and the how-manyth process in its place: a dead one is never taken for its successor."""

    frontend: int
    generation: int

    def to_bytes(self) -> bytes:
        """Return the ZeroMQ routing id; it may not begin with a zero byte (zmq_setsockopt, ZMQ_ROUTING_ID)."""
        return _SENDER.pack(b"F", *self)

    @classmethod
    def from_bytes(cls, identity: bytes) -> Sender:
        """Read a routing id."""
        return cls(*_SENDER.unpack(identity)[1:])


class Submission(NamedTuple):
    """Images of one caller, decoded, in `slots`.

    Attributes:
        number: By which it is answered.
        deadline_s: On `time.monotonic`, one clock for all processes.
        priority: As the caller gave it.
        slots: Where the images are.
        trace: Which trace the caller belongs to; see `service.trace_context`.
    """

    number: int
    deadline_s: float
    priority: int
    slots: tuple[int, ...]
    trace: bytes = NONE


class CauseElsewhere(Exception):
    """What made an engine fail, in the words of its process."""

    def __repr__(self) -> str:
        return str(self)


class Outcome(NamedTuple):
    """What became of a submission. It also gives the slots back: the engine reads them no longer."""

    number: int
    error: ServiceError | None
    queue_s: float = 0.0
    inference_s: float = 0.0


def pack_submission(submission: Submission) -> bytes:
    """Return the bytes of one submission."""
    number, deadline_s, priority, slots, trace = submission
    head = _SUBMISSION.pack(number, deadline_s, priority, len(trace), len(slots))
    return head + struct.pack(f"<{len(slots)}I", *slots) + trace


def unpack_submissions(message: bytes) -> Iterator[Submission]:
    """Yield the submissions of a message that began with `SUBMIT`."""
    at = len(SUBMIT)
    while at < len(message):
        number, deadline_s, priority, traced, images = _SUBMISSION.unpack_from(message, at)
        at += _SUBMISSION.size
        slots = struct.unpack_from(f"<{images}I", message, at)
        at += 4 * images
        yield Submission(number, deadline_s, priority, slots, message[at : at + traced])
        at += traced


def pack_cancellation(number: int) -> bytes:
    """Return the bytes of one cancellation."""
    return _CANCELLATION.pack(number)


def unpack_cancellations(message: bytes) -> Iterator[int]:
    """Yield the numbers in a message that began with `CANCEL`."""
    for (number,) in _CANCELLATION.iter_unpack(message[len(CANCEL) :]):
        yield number


def pack_outcome(outcome: Outcome) -> bytes:
    """Return the bytes of one outcome; an error of a class that is not listed travels as `EngineFailed`."""
    number, error, queue_s, inference_s = outcome
    if error is None:
        return _OUTCOME.pack(number, 0, math.nan, queue_s, inference_s, 0, 0)
    status = _STATUS.get(type(error), _STATUS[EngineFailed])
    retry_after_s = math.nan if error.retry_after_s is None else error.retry_after_s
    detail = error.detail.encode()
    cause = b"" if error.__cause__ is None else repr(error.__cause__)[:_LONGEST_CAUSE].encode()
    return _OUTCOME.pack(number, status, retry_after_s, 0.0, 0.0, len(detail), len(cause)) + detail + cause


def unpack_outcomes(message: bytes) -> Iterator[Outcome]:
    """Yield the outcomes of a message from an engine."""
    at = 0
    while at < len(message):
        number, status, retry_after_s, queue_s, inference_s, *lengths = _OUTCOME.unpack_from(message, at)
        at += _OUTCOME.size
        kind = _ERRORS[status]
        if kind is None:
            yield Outcome(number, None, queue_s, inference_s)
            continue
        middle, end = at + lengths[0], at + sum(lengths)
        detail, cause = message[at:middle].decode(), message[middle:end].decode()
        at = end
        error = kind(detail, retry_after_s=None if math.isnan(retry_after_s) else retry_after_s)
        if cause:
            error.__cause__ = CauseElsewhere(cause)
        yield Outcome(number, error)
