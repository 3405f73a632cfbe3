"""uvicorn's HTTP protocol, with an answer's head and body in one write, and an end that loses no answer.

uvicorn hands them to the transport one after the other, and uvloop makes a system call of each: two packets, and a
tenth of all the CPU time that a small request takes (docs/performance.md).

A connection that is closed while its client still sends is reset, and with it goes the answer that the client has not
read yet: whoever is refused before its body has been read would never hear why. So the end is in two steps
(RFC 9112, 9.6): nothing more is written, and what comes is thrown away for a while.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

_MUCH_BYTES = 256 * 1024  # most photos are less
_LINGER_S = 2.0
_UNSENT_S = 0.25


class OneWriteProtocol(HttpToolsProtocol):
    """HTTP/1.1 on httptools."""

    transport: _JoiningTransport  # type: ignore[assignment]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Put a transport between that joins what belongs together."""
        super().connection_made(_JoiningTransport(transport, self))  # type: ignore[arg-type]

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever works for this client, if it asked for that: it leaves a function in its scope, `on_hang_up`."""
        super().connection_lost(exc)
        hung_up = self.cycle and cast("dict[str, Any]", self.cycle.scope).get("on_hang_up")
        if hung_up:
            hung_up()

    def data_received(self, data: bytes) -> None:
        """Take what the client sends, unless it has had its answer and is to go."""
        if not self.transport.lingers:
            super().data_received(data)

    def on_body(self, body: bytes) -> None:
        """Take a part of the body: whoever waits for it is called when it is whole, or much.

        uvicorn stops reading at 64 KiB until that is taken, so that a photo comes in several parts, each a turn of the
        loop and a copy of what came before.
        """
        cycle = self.cycle
        if cycle.response_complete:
            return
        # A body that comes in one part, as most photos do, is handed on as it is; uvicorn would copy it twice.
        received = cast("bytes | bytearray", cycle.body)
        if received:
            received = received if isinstance(received, bytearray) else bytearray(received)
            received += body
        else:
            received = body
        cycle.body = received  # type: ignore[assignment]  # uvicorn makes bytes of it
        if len(cycle.body) > _MUCH_BYTES:
            self.flow.pause_reading()
            cycle.message_event.set()

    def on_message_complete(self) -> None:
        """Read on, or the end of the connection would go unnoticed; not if a next request came before its turn."""
        super().on_message_complete()
        if not self.pipeline:
            self.flow.resume_reading()

    def on_chunk_complete(self) -> None:
        """Call whoever waits for a body that did not declare its length: it may be too much already."""
        if self.cycle is not None:
            self.cycle.message_event.set()

    def shutdown(self) -> None:
        """Close, but give a client that has only just connected, or is about to ask again, time to send its request."""
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(_UNSENT_S, super().shutdown)
        else:
            super().shutdown()

    @property
    def answers_early(self) -> bool:
        """Whether the answer is complete and the request is not."""
        return self.cycle is not None and self.cycle.response_complete and self.cycle.more_body

    def on_response_complete(self) -> None:
        """Let go of the head of an answer that has no body, such as HEAD's."""
        self.transport.write(b"")
        super().on_response_complete()


class _JoiningTransport:
    """Holds an answer's head back until the first of its body comes, which ASGI says it must.

    Attributes:
        lingers: Whether everything is written and only the client's end is waited for.
    """

    def __init__(self, transport: asyncio.Transport, protocol: OneWriteProtocol) -> None:
        self.lingers = False
        self._transport = transport
        self._protocol = protocol
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
        if self.lingers or self._transport.is_closing() or not self._protocol.answers_early:
            self._transport.close()
            return
        self.lingers = True
        self._transport.write_eof()
        self._protocol.flow.resume_reading()
        self._protocol.loop.call_later(_LINGER_S, self._transport.close)

    def is_closing(self) -> bool:
        return self.lingers or self._transport.is_closing()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
