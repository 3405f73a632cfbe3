"""`X-Request-ID` on every answer: the client's own where it sent a sensible one, else a new one."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = b"x-request-id"
# What may be echoed into a header and a log line without harm.
_SENSIBLE = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")


def name_request(scope: Scope) -> bytes:
    """Return the request's id, which is in the scope as `request_id` for whoever logs or answers."""
    known: str | None = scope.get("request_id")
    if known is not None:
        return known.encode()
    for name, value in scope["headers"]:
        if name == HEADER and _SENSIBLE.fullmatch(value):
            request_id: bytes = value
            break
    else:
        # As many bits as a UUID's. They are no secret, so that the system need not be asked for them, which gives the
        # interpreter lock up.
        request_id = b"%032x" % random.getrandbits(128)
    scope["request_id"] = request_id.decode()
    return request_id


class RequestIdMiddleware:
    """ASGI middleware that names requests and their answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Name the request and its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = name_request(scope)

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                scope["visit"].status = message["status"]
                message["headers"] = [*message.get("headers", ()), (HEADER, request_id)]
            await send(message)

        await self._app(scope, receive, named)
