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

from service.api.request_id import HEADER, name_request
from service.errors import EngineFailed, NotFound, ServiceError, Unauthorized, Unprocessable

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
_PROTOCOL_V2 = "/v2/"  # below it failures are as the Open Inference Protocol has them
_SEE_LOG = "; the log has the cause under this id"


def problem(status: int, title: str, detail: str, request_id: str | None = None) -> dict[str, Any]:
    """Return the members of a problem document; `type` is left out, which means about:blank (RFC 9457, 4.2.1)."""
    members: dict[str, Any] = {"title": title, "status": status, "detail": detail}
    if request_id is not None:
        members["request_id"] = request_id
    return members


def install(app: FastAPI) -> None:
    """Make every failure of `app` a problem document."""
    for kind in (ServiceError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, respond_to)
    app.add_exception_handler(Exception, _outside_middleware)


def respond_to(request: Request, error: Exception) -> Response:
    """Return the response that tells a client of `error`."""
    if isinstance(error, ServiceError):
        detail, headers = error.detail, {}
        if error.status == EngineFailed.status:
            logger.error("request %s: %s: %r", request.scope.get("request_id"), detail, error.__cause__)
            detail += _SEE_LOG
        if error.retry_after_s is not None:
            # RFC 9110, 10.2.3: whole seconds. Rounded up, so that who obeys does not come too early.
            headers["Retry-After"] = str(math.ceil(error.retry_after_s))
        if error.status == Unauthorized.status:
            headers["WWW-Authenticate"] = "Bearer"  # RFC 9110, 11.6.1: a 401 says how to do better
        return _response(request, error.status, error.title, detail, headers, reason=error.reason)
    if isinstance(error, HTTPException):
        title = HTTPStatus(error.status_code).phrase
        reason = NotFound.reason if error.status_code == NotFound.status else Unprocessable.reason
        return _response(request, error.status_code, title, str(error.detail), dict(error.headers or {}), reason=reason)
    if isinstance(error, RequestValidationError):
        detail = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3])
        return _response(request, Unprocessable.status, Unprocessable.title, detail, reason=Unprocessable.reason)
    logger.error("unexpected failure, request %s", request.scope.get("request_id"), exc_info=error)
    return _response(request, 500, ServiceError.title, "unexpected failure" + _SEE_LOG, reason=ServiceError.reason)


def _outside_middleware(request: Request, error: Exception) -> Response:
    # Starlette answers what nobody expected outside all middleware, so the header is added here.
    response = respond_to(request, error)
    response.raw_headers.append((HEADER, name_request(request.scope)))
    return response


def _response(
    request: Request,
    status: int,
    title: str,
    detail: str,
    headers: dict[str, str] | None = None,
    *,
    reason: str,
) -> Response:
    visit = request.scope["visit"]
    visit.status, visit.outcome = status, reason
    if f"{request.scope['path']}/".startswith(_PROTOCOL_V2):
        return Response(json.dumps({"error": detail}, ensure_ascii=False), status, headers, "application/json")
    document = problem(status, title, detail, request.scope.get("request_id"))
    return Response(json.dumps(document, ensure_ascii=False), status, headers, MEDIA_TYPE)
