"""Every request from its head to its answer, whoever answers it: named, counted, logged.

Reception ──▶ keys, origins ──▶ FrontDoor ──▶ a handler, or the application
└── scope["visit"]: those further in note there how it went
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from service.api.access_log import AccessLog
from service.api.request_id import name_request
from service.families import ANSWERED, ENDPOINTS
from service.logs import REQUEST
from service.trace_context import trace_id_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from service.metrics import Metrics
    from service.model import Timing
    from service.settings import Settings


class Visit:
    """How one request went.

    Attributes:
        status: Of its answer.
        outcome: One of `service.families.OUTCOMES`.
        timing: Where its time went, if it came to a prediction.
    """

    __slots__ = ("outcome", "status", "timing")

    def __init__(self) -> None:
        self.status = 200
        self.outcome = ANSWERED
        self.timing: Timing | None = None


class Reception:
    """The outermost ASGI application.

    Args:
        app: Answers the requests.
        settings: Of the service.
        metrics: Where requests are counted.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app = app
        self._counts = {("POST", path): metrics.requests(path) for path in ENDPOINTS}
        self._access_log = AccessLog(settings.access_log_share) if settings.access_log else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See one request through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s = time.perf_counter()
        counts = self._counts.get((scope["method"], scope["path"]))
        if counts is not None:
            counts.began()
        visit = scope["visit"] = Visit()
        name_request(scope)
        if self._access_log is not None and (trace_id := trace_id_of(scope["headers"])) is not None:
            scope["trace_id"] = trace_id
        REQUEST.set(scope)
        try:
            await self._app(scope, receive, send)
        finally:
            seconds = time.perf_counter() - began_s
            if counts is not None:
                counts.ended(visit.outcome, seconds)
            if self._access_log is not None:
                self._access_log.write(scope, visit, seconds)
