"""Routes whose handler is called directly: documented by FastAPI, run by nobody but themselves.

FastAPI's own route solves dependencies, validates and serialises for every request; that took longer than
everything else the service does with a small image (docs/performance.md). A handler here takes the request and
returns the response, and says in its route what it takes and returns so that the OpenAPI document is complete.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.routing import APIRoute
from starlette.requests import Request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send


class DirectRoute(APIRoute):
    """An `APIRoute` that only documents: requests go straight to `endpoint(request)`."""

    def __init__(self, path: str, endpoint: Callable[[Request], Awaitable[Response]], **options: Any) -> None:
        super().__init__(path, endpoint, **options)

        async def call(scope: Scope, receive: Receive, send: Send) -> None:
            response = await endpoint(Request(scope, receive))
            await response(scope, receive, send)

        self.app = call
