"""The access log: a line for each request, or for a share of them. No query, header or body is ever in it."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import Scope

    from service.api.reception import Visit

logger = logging.getLogger("service.access")

LONGEST_PATH = 256  # characters; clients choose it


class AccessLog:
    """Writes the lines.

    Args:
        share: Of requests that get one; those that the service failed (500) all do.
    """

    def __init__(self, share: float) -> None:
        self._share = share

    def write(self, scope: Scope, visit: Visit, seconds: float) -> None:
        """Write that a request has ended after `seconds`, or don't."""
        if visit.status == 500 or self._share >= 1.0 or random.random() < self._share:  # noqa: S311 - not a secret
            fields = _fields(scope, visit, seconds)
            text = "{client} {method} {path} {status} {outcome} {duration_ms} ms {request_id}".format_map(fields)
            logger.info(text, extra={"fields": fields})


def _fields(scope: Scope, visit: Visit, seconds: float) -> dict[str, Any]:
    # As it came, percent-encoded, and what was not encoded is escaped: a line break would be another line.
    path = scope["raw_path"].partition(b"?")[0].decode("latin-1").encode("unicode_escape").decode()
    fields = {
        "request_id": scope["request_id"],
        "client": scope["client"][0] if scope.get("client") else "-",
        "method": scope["method"],
        "path": path[:LONGEST_PATH],
        "status": visit.status,
        "outcome": visit.outcome,
        "duration_ms": round(seconds * 1e3, 2),
    }
    if "trace_id" in scope:
        fields["trace_id"] = scope["trace_id"]
    if visit.timing is not None:
        fields["decode_ms"] = round(visit.timing.decode_s * 1e3, 2)
        fields["queue_ms"] = round(visit.timing.queue_s * 1e3, 2)
        fields["inference_ms"] = round(visit.timing.inference_s * 1e3, 2)
    return fields
