"""uvicorn's HTTP protocol, with an end to what a client may keep it waiting for, and to what it may send beside a body.

    connected ──▶ head ──▶ body ──▶ nothing: it is our turn ──▶ answered ──▶ the next head, or idle
                  head_s   body_s                                           keep-alive, uvicorn's own

Time runs only while something is awaited: a request that comes in one piece, as most do, starts no timer.
"""

from __future__ import annotations

import json
import logging
from enum import Enum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from service.protocol import OneWriteProtocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from service.connections import Connections

# What a request may have beside its body: its head, and the trailers of a chunked one (RFC 9112, 7.1.2).
MAX_HEAD_BYTES = 64 * 1024
_LINGER_S = 2.0  # for the client to take in why it is disconnected

_logger = logging.getLogger(__name__)


def quieten_protocol() -> None:
    """Keep clients' mistakes out of the log, which would be theirs to fill: they are told of them instead."""
    _logger.setLevel(logging.ERROR)


class Patience(NamedTuple):
    """Seconds that a client may take."""

    head_s: float
    body_s: float  # also to take an answer in that is too large to be sent at once


class _Awaited(Enum):
    NOTHING = 0
    HEAD = 1
    BODY = 2


class PatientProtocol(OneWriteProtocol):
    """HTTP/1.1 on httptools, for clients of any kind.

    Args:
        patience: How long they may take.
        connections: Where they are counted.
        refused: Called with the status of each answer that is given in the application's place. A request that the
            application knows of by then finds it in its scope, as "refused".
    """

    def __init__(
        self,
        *args: Any,
        patience: Patience,
        connections: Connections,
        refused: Callable[[int], None],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.logger = _logger
        self._patience = patience
        self._crowd = connections
        self._refused = refused
        self._awaited = _Awaited.HEAD
        self._timed: _Awaited | None = None  # what the timer is for
        self._timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._has_body = False  # among what was just received
        self._surplus = 0  # bytes of this request that are not its body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._keep_time()
        self._crowd.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._crowd.closed(self)
        for timer in (self._timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in what the client sent."""
        self._has_body = False
        super().data_received(data)
        if self._awaited is _Awaited.NOTHING:
            if self._timer is not None:
                self._stop_timer()
            if self.cycle.response_complete:  # empty lines before the next request (RFC 9112, 2.2), or part of one
                self._awaited = _Awaited.HEAD
        if self._awaited is not _Awaited.NOTHING and not self.transport.is_closing():
            self._surplus = 0 if self._has_body else self._surplus + len(data)
            if self._surplus > MAX_HEAD_BYTES:
                self._refuse(431, f"more than {MAX_HEAD_BYTES} bytes beside the body")
            else:
                self._keep_time()

    def on_message_begin(self) -> None:
        """Wait for the rest of a request's head."""
        super().on_message_begin()
        self._awaited = _Awaited.HEAD
        self._timed = None  # whatever it was for, this is the next request
        self._surplus = 0

    def on_headers_complete(self) -> None:
        """Wait for a request's body."""
        self._awaited = _Awaited.BODY
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take in a part of the body."""
        self._has_body = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Wait for nothing: the client waits."""
        self._awaited = _Awaited.NOTHING
        self._crowd.works(self)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the client again."""
        super().on_response_complete()
        if not self.pipeline and not self.transport.is_closing():
            self._crowd.waits(self)

    def pause_writing(self) -> None:
        """Begin to wait for a client that does not take its answer in."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(self._patience.body_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Wait for that no more."""
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()

    def timeout_keep_alive_handler(self) -> None:
        """Disconnect a client that has had its answer and asks nothing more."""
        self.make_room()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        self._refuse(400, "this is not a request as HTTP/1.1 has it")

    def make_room(self) -> None:
        """See `service.connections.Connection`."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def turn_away(self) -> None:
        """See `service.connections.Connection`."""
        self._refuse(503, "everybody who is connected is being answered", b"retry-after: 1\r\n")

    def _keep_time(self) -> None:
        """Give the client its time for what is awaited, once."""
        if self._timed is self._awaited:
            return
        self._stop_timer()
        self._timed = self._awaited
        seconds = self._patience.head_s if self._awaited is _Awaited.HEAD else self._patience.body_s
        self._timer = self.loop.call_later(seconds, self._lose_patience)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._timed = None

    def _lose_patience(self) -> None:
        self._stop_timer()
        if self.pipeline:  # it could not go on sending meanwhile: an earlier request is being answered
            self._keep_time()
        elif self._awaited is _Awaited.HEAD and not self._surplus:
            self.make_room()  # nothing was ever sent
        else:
            self._refuse(408, f"the rest of the {self._awaited.name.lower()} did not come in time")

    def _refuse(self, status: int, detail: str, headers: bytes = b"") -> None:
        """Answer in the application's place, and disconnect.

        An answer that is under way is not broken into: it will be the last.
        """
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if self._awaited is not _Awaited.BODY or cycle.response_started:
                cycle.keep_alive = False
                return
            cast("dict[str, Any]", cycle.scope)["refused"] = status
            cycle.disconnected = True  # for the application it looks as if the client had hung up
            cycle.message_event.set()
        if cycle is None or not (self._awaited is _Awaited.BODY and cycle.response_complete):
            self._refused(status)
            body = json.dumps({"title": HTTPStatus(status).phrase, "status": status, "detail": detail}).encode()
            self.transport.write(
                b"%scontent-type: application/problem+json\r\ncontent-length: %d\r\nconnection: close\r\n%s\r\n%s"
                % (STATUS_LINE[status], len(body), headers, body)
            )
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self.loop.call_later(_LINGER_S, self.transport.abort)
