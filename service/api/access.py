"""API keys over HTTP: `Authorization: Bearer KEY` (RFC 6750) or `X-API-Key: KEY`, where keys are set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from service.api.problems import respond_to
from service.api.request_id import HEADER, name_request
from service.api.schemas import problem_responses
from service.errors import Unauthorized

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Receive, Scope, Send

    from service.keys import Keys

# What anybody may ask: orchestrators' probes, and pages that a browser opens, which has no key yet. They say nothing
# of what is sent here by others. Whatever is not named here needs a key.
OPEN_PATHS = frozenset(
    {"/", "/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready", "/docs", "/redoc", "/openapi.json"}
)
OPEN_FOLDERS = ("/static-offline-docs/", "/web/")

_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def is_open(path: str) -> bool:
    """Whether `path` can be asked for without a key."""
    return path in OPEN_PATHS or path.startswith(OPEN_FOLDERS)


def check_key(keys: Keys | None, scope: Scope) -> None:
    """Let a request pass that has a valid key.

    Args:
        keys: None where there are none, and so nobody has one: what is to be done with a key only, cannot be done.
        scope: The request's, as ASGI has it.

    Raises:
        Unauthorized: it has no key, or a wrong one.
    """
    presented = _presented(scope)
    if presented is None:
        raise Unauthorized("this needs an API key: Authorization: Bearer KEY, or X-API-Key: KEY")
    if keys is None or not keys.admit(presented):
        raise Unauthorized("the API key is not valid")


class KeyCheck:
    """ASGI middleware that lets through to `app` who has a key, and everybody to what is open."""

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or have it answered."""
        if scope["type"] == "http" and not is_open(scope["path"]):
            try:
                check_key(self._keys, scope)
            except Unauthorized as error:
                request_id = name_request(scope)
                response = respond_to(Request(scope), error)
                response.raw_headers.append((HEADER, request_id))
                scope["visit"].answered()
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)


def describe(app: FastAPI) -> None:
    """Have the OpenAPI document of `app` say what needs a key, and how to send one."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        document = plain()
        document.setdefault("components", {})["securitySchemes"] = _SCHEMES
        for path, operations in document["paths"].items():
            for operation in operations.values():
                if not is_open(path):
                    operation["security"] = [{name: []} for name in _SCHEMES]
                    operation["responses"]["401"] = problem_responses(401)[401]
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _presented(scope: Scope) -> bytes | None:
    presented: bytes | None = None
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            presented = value
            break
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            presented = value[7:]
    return presented.strip() if presented else None
