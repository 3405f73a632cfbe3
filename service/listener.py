"""The sockets that the service listens on: had at once, before a model is loaded for nothing."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from service.errors import StartError

if TYPE_CHECKING:
    from service.settings import Settings

_BACKLOG = 2048  # connections that wait to be accepted; uvicorn's own default


def listeners(settings: Settings) -> list[socket.socket]:
    """Return the socket of the service, and that of its management where it has a port of its own.

    Raises:
        StartError: a port is taken, or the address is not one of this machine's.
    """
    ports = [settings.port, *([] if settings.management_port is None else [settings.management_port])]
    return [listen(settings.host, port) for port in ports]


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
