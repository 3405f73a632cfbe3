"""A ZeroMQ socket on an asyncio event loop, with nothing in between.

`zmq.asyncio` makes futures and polls of every message; this hands each to a function, for half the CPU time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import zmq

if TYPE_CHECKING:
    from collections.abc import Callable


class Channel:
    """Sends without waiting; calls `received` with the frames of each message that comes.

    Args:
        socket: Bound or connected; its high-water marks are off, since the slots bound what can be under way.
        received: Called on the event loop for each message.
    """

    def __init__(self, socket: zmq.Socket[bytes], received: Callable[[list[bytes]], None]) -> None:
        self._socket = socket
        self._received = received
        # Every message has as many: of a frontend, to a ROUTER, its routing id before it.
        self._frames = range(2 if socket.type == zmq.ROUTER else 1)
        self._loop = asyncio.get_running_loop()
        self._descriptor = cast(int, socket.getsockopt(zmq.FD))
        self._loop.add_reader(self._descriptor, self.drain)
        self._loop.call_soon(self.drain)  # what came before the reader was there is not announced again

    def send(self, *frames: bytes) -> None:
        """Queue a message for sending; a peer that is not there any more does not get it."""
        if self._socket.closed:
            return
        self._socket.send_multipart(frames, zmq.NOBLOCK)
        # The descriptor announces a change once, and sending may have consumed it (zmq_getsockopt, ZMQ_FD).
        if self._readable():
            self._loop.call_soon(self.drain)

    def drain(self) -> None:
        """Receive until there is nothing left, which arms the descriptor again."""
        while not self._socket.closed and self._readable():
            self._received([self._socket.recv() for _ in self._frames])

    def close(self) -> None:
        """Stop receiving and drop what has not been sent."""
        self._loop.remove_reader(self._descriptor)
        self._socket.close(linger=0)
        self._received = _dropped  # whose it was can go

    def _readable(self) -> bool:
        return bool(cast(int, self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)


def _dropped(_: list[bytes]) -> None: ...


def bound(address: str) -> zmq.Socket[bytes]:
    """Return an engine's socket: it hears every frontend and answers each by its routing id."""
    socket = _socket(zmq.ROUTER)
    socket.bind(address)
    return socket


def connected(address: str, identity: bytes) -> zmq.Socket[bytes]:
    """Return a frontend's socket to one engine."""
    socket = _socket(zmq.DEALER)
    socket.setsockopt(zmq.ROUTING_ID, identity)
    socket.connect(address)
    return socket


def _socket(kind: zmq.SocketType | int) -> zmq.Socket[bytes]:
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, 0)
    return socket
