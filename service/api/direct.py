"""Routes on the hot path: documented by FastAPI, run by nobody but themselves.

FastAPI solves dependencies, validates and serialises for every request, inside seven layers of middleware; together
that takes longer than all the rest that the service does with a small image (docs/performance.md). A handler here
takes the request and returns the response, and says in its route what it takes and returns, so that the OpenAPI
document is complete.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from service.api.problems import respond_to
from service.api.request_id import HEADER, name_request
from service.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from fastapi.routing import APIRoute
    from starlette.types import ASGIApp, Receive, Scope, Send

    Endpoint = Callable[[Request], Awaitable[Response]]


class JsonAnswer(Response):
    """A 200 with a JSON document, made and sent in a fifth of the time that the general case takes.

    Args:
        document: The JSON text.
        timing: Value of `Server-Timing`.
    """

    def __init__(self, document: str, timing: str) -> None:
        self.status_code = 200
        self.background = None
        self.body = document.encode()
        self.raw_headers = [
            (b"content-length", str(len(self.body)).encode()),
            (b"content-type", b"application/json"),
            (b"server-timing", timing.encode()),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body})


class FrontDoor:
    """Takes requests for `routes` to their handlers directly, and everything else to `app`.

    Args:
        app: What answers everything else, and documents the routes.
        routes: Each with a handler that takes a request and returns a response.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[APIRoute]) -> None:
        self._app = app
        self._endpoints: dict[tuple[str, str], Endpoint] = {}
        self._patterns: list[APIRoute] = []  # of routes with names in their paths
        for route in routes:
            if route.param_convertors:
                self._patterns.append(route)
            else:
                self._endpoints |= {(method, route.path): route.endpoint for method in route.methods or ()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = name_request(scope)
        endpoint = self._endpoints.get((scope["method"], scope["path"])) or self._matching(scope)
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            response = await endpoint(request)
        except ClientDisconnect:
            scope["visit"].left(scope.get("refused"))
            return  # nobody is left to answer, and nothing went wrong
        except asyncio.CancelledError:  # the server stops, and has waited for this answer long enough
            response = respond_to(request, Unavailable("the service has stopped", retry_after_s=1.0))
        except Exception as error:  # whatever it is, the client hears of it
            response = respond_to(request, error)
        response.raw_headers.append((HEADER, request_id))
        scope["visit"].answered()
        await response(scope, receive, send)

    def _matching(self, scope: Scope) -> Endpoint | None:
        for route in self._patterns:
            match = route.path_regex.match(scope["path"])
            if match is not None and scope["method"] in (route.methods or ()):
                scope["path_params"] = match.groupdict()
                return route.endpoint
        return None
