"""Every request from its head to its answer, whoever answers it: named, counted, traced, logged.

Reception ──▶ keys, origins ──▶ FrontDoor ──▶ a handler, or the application
└── scope["visit"]: those further in note there how it went
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from service.api.access_log import LONGEST_PATH, AccessLog
from service.api.request_id import name_request
from service.families import ANSWERED, CANCELLED, ENDPOINTS, INFER, REFUSALS
from service.logs import REQUEST
from service.trace_context import TRACE, trace_id_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import Span
    from starlette.types import ASGIApp, Receive, Scope, Send

    from service.metrics import Metrics, Requests
    from service.model import Timing
    from service.settings import Settings
    from service.statistics import ModelCounts
    from service.tracing import Tracer


class Visit:
    """How one request went.

    Args:
        counts: Where it is counted, if it is.

    Attributes:
        status: Of its answer.
        outcome: One of `service.families.OUTCOMES`.
        seconds: From its head to its answer, once there is one.
        timing: Where its time went, if it came to a prediction.
        predicted_ns: When that was, on the wall's clock.
        model: Where the model that it is for counts, once that is known.
    """

    __slots__ = (
        "_began_s",
        "_counts",
        "_predicted_s",
        "model",
        "outcome",
        "predicted_ns",
        "seconds",
        "status",
        "timing",
    )

    def __init__(self, counts: Requests | None) -> None:
        self.status = 200
        self.outcome = ANSWERED
        self.seconds: float | None = None
        self.timing: Timing | None = None
        self.predicted_ns = 0
        self.model: ModelCounts | None = None
        self._predicted_s = 0.0
        self._counts = counts
        self._began_s = time.perf_counter()
        if counts is not None:
            counts.began()

    def predicted(self, timing: Timing) -> None:
        """Note that it came to a prediction just now."""
        self.timing = timing
        self.predicted_ns = time.time_ns()
        self._predicted_s = time.perf_counter()

    def left(self, refused: int | None) -> None:
        """Note that its client is gone: of its own accord, or `refused` by the protocol, with that status."""
        self.outcome = CANCELLED
        if refused is not None:
            self.status, self.outcome = refused, REFUSALS[refused]

    def answered(self) -> float:
        """Count it, the first time; return how many seconds it took until then.

        Before the answer is sent, so that who has it finds it counted, whatever happens to this process meanwhile.
        """
        if self.seconds is None:
            now_s = time.perf_counter()
            self.seconds = now_s - self._began_s
            if self._counts is not None:
                self._counts.ended(self.outcome, self.seconds)
            if self.model is not None:
                self._count_for(self.model, now_s)
        return self.seconds

    def _count_for(self, model: ModelCounts, now_s: float) -> None:
        assert self.seconds is not None  # noqa: S101 - the caller has set it
        if self.timing is None or self.outcome != ANSWERED:
            model.failed(self.seconds)
        else:
            model.answered(self.seconds, self.timing, now_s - self._predicted_s, self.predicted_ns / 1e6)


class Reception:
    """The outermost ASGI application.

    Args:
        app: Answers the requests.
        settings: Of the service.
        metrics: Where requests are counted.
        tracer: What traces them, if anything does.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics, tracer: Tracer | None = None) -> None:
        self._app = app
        self._counts = {("POST", path): metrics.requests(path) for path in ENDPOINTS}
        self._tracer = tracer
        self._access_log = AccessLog(settings.access_log_share) if settings.access_log else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See one request through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        endpoint = _endpoint(scope["path"])
        counts = self._counts.get((scope["method"], endpoint))
        visit = scope["visit"] = Visit(counts)
        name_request(scope)
        if self._access_log is not None and (trace_id := trace_id_of(scope["headers"])) is not None:
            scope["trace_id"] = trace_id
        REQUEST.set(scope)
        tracer = self._tracer if scope["method"] == "POST" else None  # not probes and scrapes
        span = None if tracer is None else _begin_span(tracer, scope, known=counts is not None)
        try:
            await self._app(scope, receive, send)
        finally:
            seconds = visit.answered()
            if tracer is not None and span is not None:
                _end_span(tracer, span, visit)
            if self._access_log is not None:
                self._access_log.write(scope, visit, seconds)


def _begin_span(tracer: Tracer, scope: Scope, *, known: bool) -> Span:
    # Names are few: what a client may choose at will is an attribute.
    name = f"{scope['method']} {_endpoint(scope['path'])}" if known else str(scope["method"])
    about = {
        "http.request.method": scope["method"],
        "url.path": scope["path"][:LONGEST_PATH],
        "resnet.request_id": scope["request_id"],
    }
    span = tracer.begin(name, scope["headers"], about)
    TRACE.set(tracer.context(span))
    scope["trace_id"] = f"{span.get_span_context().trace_id:032x}"
    return span


def _end_span(tracer: Tracer, span: Span, visit: Visit) -> None:
    if visit.timing is not None:
        tracer.stages(span, visit.predicted_ns, visit.timing)
    about: dict[str, str | int] = {"http.response.status_code": visit.status, "resnet.outcome": visit.outcome}
    tracer.end(span, about, failed=visit.status >= 500)


def _endpoint(path: str) -> str:
    """Return what requests for `path` are counted as: all that infer as one, whatever names a client makes up."""
    return INFER if path.startswith("/v2/models/") and path.endswith("/infer") else path
