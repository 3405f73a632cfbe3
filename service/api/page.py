"""`GET /`: a page to try the service on, from the files in `service/web/`, and nothing from other hosts."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request

FOLDER = "/web/"
_FILES = Path(__file__).parents[1] / "web"
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Content Security Policy Level 3. Pictures are shown from the browser's own memory (blob:); text never becomes markup.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
_HEADERS = {
    "Cache-Control": "no-cache",  # asked again each time, and answered 304
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
}


def routes() -> list[Route]:
    """Return the routes of the page and of what it is made of; they hold the files, and read none later."""
    files = {path.name: path for path in _FILES.iterdir() if path.suffix in _MEDIA_TYPES}
    paths = {"/": files.pop("index.html"), **{FOLDER + name: path for name, path in files.items()}}
    return [Route(path, _Page(file).answer, methods=["GET"], include_in_schema=False) for path, file in paths.items()]


class _Page:
    """One file, as it was when the service started."""

    def __init__(self, file: Path) -> None:
        self._body = file.read_bytes()
        etag = f'"{hashlib.sha256(self._body).hexdigest()[:32]}"'
        self._headers = _HEADERS | {"Content-Type": _MEDIA_TYPES[file.suffix], "ETag": etag}

    async def answer(self, request: Request) -> Response:
        """Return it, or that it is still what the browser has (RFC 9110, 13.1.2)."""
        known = request.headers.get("if-none-match", "")
        if self._headers["ETag"] in (tag.strip().removeprefix("W/") for tag in known.split(",")):
            return Response(status_code=304, headers=self._headers)
        return Response(self._body, headers=self._headers)
