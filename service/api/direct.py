"""Routes on the hot path: documented by FastAPI, run by nobody but themselves.

FastAPI solves dependencies, validates and serialises for every request, inside seven layers of middleware; together
that takes longer than all the rest that the service does with a small image (docs/performance.md). A handler here
takes the request and returns the response, and says in its route what it takes and returns, so that the OpenAPI
document is complete.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect, Request

from service.api.problems import respond_to
from service.api.request_id import HEADER, name_request
from service.errors import ServiceError, Unavailable
from service.families import ANSWERED, CANCELLED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from fastapi.routing import APIRoute
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from service.metrics import Metrics, Requests

    Endpoint = Callable[[Request], Awaitable[Response]]


class FrontDoor:
    """Takes requests for `routes` to their handlers directly, and everything else to `app`.

    Args:
        app: What answers everything else, and documents the routes.
        routes: Each with a handler that takes a request and returns a response.
        metrics: Where requests for `routes` are counted.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[APIRoute], metrics: Metrics) -> None:
        self._app = app
        self._endpoints: dict[tuple[str, str], tuple[Endpoint, Requests]] = {
            (method, route.path): (route.endpoint, metrics.requests(route.path))
            for route in routes
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = name_request(scope)
        found = self._endpoints.get((scope["method"], scope["path"]))
        if found is None:
            await self._app(scope, receive, send)
            return
        endpoint, requests = found
        request = Request(scope, receive)
        began_s = time.perf_counter()
        requests.began()
        outcome = ANSWERED
        try:
            response = await endpoint(request)
        except ClientDisconnect:
            requests.ended(CANCELLED, time.perf_counter() - began_s)
            return  # nobody is left to answer, and nothing went wrong
        except asyncio.CancelledError:  # the server stops, and has waited for this answer long enough
            outcome = Unavailable.reason
            response = respond_to(request, Unavailable("the service has stopped", retry_after_s=1.0))
        except Exception as error:  # whatever it is, the client hears of it
            outcome = error.reason if isinstance(error, ServiceError) else ServiceError.reason
            response = respond_to(request, error)
        requests.ended(outcome, time.perf_counter() - began_s)
        response.raw_headers.append((HEADER, request_id))
        await response(scope, receive, send)
