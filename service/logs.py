"""What is logged, and how a line looks: text for a person, JSON for whatever collects it (RFC 8259, one object a line).

A line that is written while a request is answered carries the request's id and, where it has one, its trace's.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from service.settings import Settings

# What is being answered: an ASGI scope, with `request_id` and perhaps `trace_id`.
REQUEST: ContextVar[Mapping[str, Any] | None] = ContextVar("request", default=None)

_IDS = ("request_id", "trace_id")
_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_TEXT_OF_SEVERAL = "%(asctime)s %(levelname)s %(processName)s %(name)s: %(message)s"


def configure(settings: Settings) -> None:
    """Log to stderr as `settings` say, in this process; with several processes, each with its name."""
    handler = logging.StreamHandler()
    text = _TEXT_OF_SEVERAL if settings.frontends else _TEXT
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else logging.Formatter(text))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)


class JsonFormatter(logging.Formatter):
    """One JSON object a line; the mapping `fields` of a record, where it has one, becomes members of it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return `record` as a line."""
        request = REQUEST.get() or {}
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": multiprocessing.current_process().name,
            "message": record.getMessage(),
        }
        line |= {name: request[name] for name in _IDS if name in request}
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)
