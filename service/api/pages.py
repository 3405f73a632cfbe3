"""What browsers are told about pages that they are shown: nothing from elsewhere, and in nobody's frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Content Security Policy Level 3. The API's documentation is drawn by scripts of this host, begun by one in the page
# itself; ReDoc works in a worker that it makes of a blob.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
_FOR_ALL = ((b"x-content-type-options", b"nosniff"),)
_FOR_PAGES = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-frame-options", b"DENY"),  # what browsers before CSP 2 know of frame-ancestors
    (b"referrer-policy", b"no-referrer"),
)


class PageHeaders:
    """ASGI middleware that adds them, where the page does not say otherwise itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                has = {name.lower(): value for name, value in headers}
                page = has.get(b"content-type", b"").startswith(b"text/html")
                wanted = (*_FOR_ALL, *_FOR_PAGES) if page else _FOR_ALL
                message["headers"] = [*headers, *(each for each in wanted if each[0] not in has)]
            await send(message)

        await self._app(scope, receive, guarded)
