"""Traces for OpenTelemetry: `resnet-serve --tracing`, with the extra [otel]. Without it nothing here is imported.

    POST /classify              the request, a child of the span that its `traceparent` names
    ├── decode                  from bytes to pixels
    ├── queue                   pixels that wait for the engine
    └── inference               the run, or the runs, that they were in
    batch                       each run, a trace of its own, linked to the requests in it

Where spans go and how many are kept say OpenTelemetry's own variables, such as OTEL_EXPORTER_OTLP_ENDPOINT and
OTEL_TRACES_SAMPLER. Durations are measured where they arise; spans are made of them once a request or a run is over.
"""

from __future__ import annotations

import os
import threading
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast

from service.errors import StartError
from service.trace_context import NONE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from opentelemetry.sdk.trace import Span

    from service.settings import Settings

_FLUSH_WITHIN_S = 2.0  # at the end, when the collector may be gone
_STAGES = ("decode", "queue", "inference")  # one after the other


class TracingError(StartError):
    """Traces were asked for and cannot be had."""


def tracer_of(settings: Settings) -> Tracer | None:
    """Return what traces, or None where nobody wants traces.

    Raises:
        TracingError: OpenTelemetry is not installed.
    """
    if not settings.tracing:
        return None
    try:
        return Tracer()
    except ImportError as error:
        raise TracingError(f"--tracing needs OpenTelemetry: pip install 'resnet-serve[otel]' ({error})") from error


class Tracer:
    """Makes the spans of one process, and sends them by OTLP over HTTP from a thread of their own."""

    def __init__(self) -> None:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        named = {} if "OTEL_SERVICE_NAME" in os.environ else {"service.name": "resnet-serve"}
        here = version("resnet-serve")
        self._api = trace
        self._provider = TracerProvider(resource=Resource.create({**named, "service.version": here}))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("resnet-serve", here)
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, name: str, headers: Iterable[tuple[bytes, bytes]], attributes: Mapping[str, str]) -> Span:
        """Return the span of a request that begins now, in the trace that its headers name."""
        carrier = {key.decode("latin-1"): value.decode("latin-1") for key, value in headers if key.startswith(b"trace")}
        parent = self._propagator.extract(carrier)
        return cast("Span", self._tracer.start_span(name, parent, self._api.SpanKind.SERVER, attributes))

    def context(self, span: Span) -> bytes:
        """Return by what else finds `span`, see `service.trace_context`; nothing if it is not kept."""
        if not span.is_recording():
            return NONE
        about = span.get_span_context()
        return about.trace_id.to_bytes(16, "big") + about.span_id.to_bytes(8, "big") + bytes([about.trace_flags])

    def stages(self, span: Span, ended_ns: int, durations_s: Iterable[float]) -> None:
        """Make the spans of what was done for a request one after the other, the last of it until `ended_ns`."""
        parent = self._api.set_span_in_context(span)
        durations_ns = [round(seconds * 1e9) for seconds in durations_s]
        at_ns = ended_ns - sum(durations_ns)
        for name, duration_ns in zip(_STAGES, durations_ns, strict=True):
            self._tracer.start_span(name, parent, start_time=at_ns).end(at_ns + duration_ns)
            at_ns += duration_ns

    def end(self, span: Span, attributes: Mapping[str, str | int], *, failed: bool) -> None:
        """End the span of a request."""
        span.set_attributes(attributes)
        if failed:
            span.set_status(self._api.StatusCode.ERROR)
        span.end()

    def batch(self, contexts: Iterable[bytes], images: int, seconds: float) -> None:
        """Make the span of a run of `images` images that ended just now, for the requests of `contexts`."""
        links = [self._link(context) for context in contexts if context]
        if not links:
            return  # none of its requests is kept
        ended_ns = time.time_ns()
        span = self._tracer.start_span(
            "batch", attributes={"resnet.images": images}, links=links, start_time=ended_ns - round(seconds * 1e9)
        )
        span.end(ended_ns)

    def close(self) -> None:
        """Send what has not been sent, within two seconds."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(_FLUSH_WITHIN_S)

    def _link(self, context: bytes) -> Any:
        flags = self._api.TraceFlags(context[24])
        trace_id, span_id = int.from_bytes(context[:16], "big"), int.from_bytes(context[16:24], "big")
        return self._api.Link(self._api.SpanContext(trace_id, span_id, is_remote=True, trace_flags=flags))
