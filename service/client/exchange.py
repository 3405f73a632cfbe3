"""One request until it is answered, refused for good, or out of time: what to do next, for whoever can do it.

    exchange ──Send(timeout)──▶ driver ──response, or what httpx raised──▶ exchange ──Wait(seconds)──▶ driver ──▶ …

It knows nothing of threads or event loops: `http.Client` and `http.AsyncClient` drive it, each in its own way.
"""

from __future__ import annotations

import itertools
import random
import time
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import httpx

from service.client.answers import Classification, Timing
from service.client.failures import UnexpectedAnswer, Unreachable, failure_of
from service.errors import DeadlineExceeded, ServiceError

if TYPE_CHECKING:
    from collections.abc import Generator

_GATEWAY = (502, 503, 504)  # of a proxy: its server is being replaced
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0
# Whoever was refused at the same moment was told the same time: those who obey must not all come back at once.
_SPREAD = 0.1


class Send(NamedTuple):
    """Send the request; it has this long."""

    timeout_s: float


class Wait(NamedTuple):
    """Do nothing for so long."""

    seconds: float


Answer: TypeAlias = httpx.Response | httpx.TransportError


def exchange(timeout_s: float, max_attempts: int) -> Generator[Send | Wait | Classification, Answer | None, None]:
    """Yield what to do next, and at last the classification; `Send` is to be answered with what came of it.

    What the service refuses for now (429, 503) is asked again when its Retry-After says, as long as there is time;
    what was lost on the way, `max_attempts` times. Classifying twice does no harm.

    Args:
        timeout_s: Time that there is, with all attempts and waits.
        max_attempts: Most attempts where nothing says when to come back.

    Raises:
        ServiceError: refused for good, or out of time.
    """
    deadline_s = time.monotonic() + timeout_s
    for attempt in itertools.count(1):
        remaining_s = deadline_s - time.monotonic()
        if remaining_s <= 0:
            raise DeadlineExceeded(f"no answer within {timeout_s:g} s")
        answer = yield Send(remaining_s)
        if isinstance(answer, httpx.Response) and answer.status_code == httpx.codes.OK:
            yield _classification(answer)
            return
        error = failure_of(answer) if isinstance(answer, httpx.Response) else _lost(answer, timeout_s)
        pause_s = _pause_s(error, attempt, max_attempts)
        if pause_s is None or time.monotonic() + pause_s >= deadline_s:
            raise error from (answer if isinstance(answer, Exception) else None)
        yield Wait(pause_s)


def _lost(error: Exception | None, timeout_s: float) -> ServiceError:
    if isinstance(error, httpx.TimeoutException):
        return DeadlineExceeded(f"no answer within {timeout_s:g} s")
    return Unreachable(f"{type(error).__name__}: {error}")


def _pause_s(error: ServiceError, attempt: int, max_attempts: int) -> float | None:
    """Return how long to wait before the next attempt, or None where there is to be none."""
    if error.retry_after_s is not None:
        return error.retry_after_s * random.uniform(1, 1 + _SPREAD)  # noqa: S311 - no secret
    lost = isinstance(error, Unreachable) or (isinstance(error, UnexpectedAnswer) and error.code in _GATEWAY)
    if not lost or attempt >= max_attempts:
        return None
    longest_s: float = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** (attempt - 1))
    return longest_s * random.uniform(0.5, 1)  # noqa: S311


def _classification(response: httpx.Response) -> Classification:
    timing = Timing.from_header(response.headers.get("server-timing", ""))
    try:
        return Classification.from_document(response.json(), timing)
    except (ValueError, KeyError, TypeError) as error:
        raise UnexpectedAnswer("the answer is no classification: is this resnet-serve?", 200) from error
