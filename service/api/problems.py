"""Failures as RFC 9457 `application/problem+json`: the one place where errors meet HTTP."""

from __future__ import annotations

import json
import logging
import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from service.errors import ServiceError, Unprocessable

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


def problem(status: int, title: str, detail: str, request_id: str | None = None) -> dict[str, Any]:
    """Return the members of a problem document; `type` is left out, which means about:blank (RFC 9457, 4.2.1)."""
    members: dict[str, Any] = {"title": title, "status": status, "detail": detail}
    if request_id is not None:
        members["request_id"] = request_id
    return members


def install(app: FastAPI) -> None:
    """Make every failure of `app` a problem document."""
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(Exception, _unexpected)


def _respond(request: Request, status: int, title: str, detail: str, headers: dict[str, str] | None = None) -> Response:
    request_id = request.scope.get("request_id")
    body = json.dumps(problem(status, title, detail, request_id), ensure_ascii=False)
    return Response(body, status, headers, MEDIA_TYPE)


def _service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)  # noqa: S101 - registered for this class only
    headers = {}
    if error.retry_after_s is not None:
        # RFC 9110, 10.2.3: whole seconds. Rounded up, so that who obeys does not come too early.
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    return _respond(request, error.status, error.title, error.detail, headers)


def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class only
    title = HTTPStatus(error.status_code).phrase
    headers = dict(error.headers) if error.headers else None
    return _respond(request, error.status_code, title, str(error.detail), headers)


def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class only
    detail = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3])
    return _respond(request, Unprocessable.status, Unprocessable.title, detail)


def _unexpected(request: Request, error: Exception) -> Response:
    request_id = request.scope.get("request_id")
    logger.error("unexpected failure, request %s", request_id, exc_info=error)
    # Starlette answers this one outside all middleware, so the header is added here.
    headers = {"X-Request-ID": request_id} if request_id else None
    return _respond(request, 500, ServiceError.title, "the log has the cause under this id", headers)
