"""The socket that the service listens on: had at once, before a model is loaded for nothing."""

from __future__ import annotations

import socket

from service.errors import StartError

_BACKLOG = 2048  # connections that wait to be accepted; uvicorn's own default


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on `host` and `port`, 0 for any free one.

    Raises:
        StartError: the port is taken, or the address is not one of this machine's.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address, family=family, backlog=_BACKLOG)
    except OSError as error:
        raise StartError(f"cannot listen on {host}, port {port}: {error.strerror or error}") from error
