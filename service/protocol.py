"""uvicorn's HTTP protocol, with an answer's head and body in one write.

uvicorn hands them to the transport one after the other, and uvloop makes a system call of each: two packets, and a
tenth of all the CPU time that a small request takes (docs/performance.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio


class OneWriteProtocol(HttpToolsProtocol):
    """HTTP/1.1 on httptools."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Put a transport between that joins what belongs together."""
        super().connection_made(_JoiningTransport(transport))  # type: ignore[arg-type]

    def on_response_complete(self) -> None:
        """Let go of the head of an answer that has no body, such as HEAD's."""
        self.transport.write(b"")
        super().on_response_complete()


class _JoiningTransport:
    """Holds an answer's head back until the first of its body comes, which ASGI says it must."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""

    def write(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
        elif not data:
            return
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 1"):  # 1xx: no body follows
            self._head = data
            return
        self._transport.write(data)

    def close(self) -> None:
        self.write(b"")  # an answer that its application broke off
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
