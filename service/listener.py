"""The sockets that the service listens on: had at once, before a model is loaded for nothing."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from service.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.settings import Settings

_BACKLOG = 2048  # connections that wait to be accepted; uvicorn's own default
_HANDED_OVER = "_RESNET_SERVE_LISTENERS"  # in the environment: descriptors, of a process to the one in its place


def listeners(settings: Settings) -> list[socket.socket]:
    """Return the socket of the service, and that of its management where it has a port of its own.

    Raises:
        StartError: a port is taken, or the address is not one of this machine's.
    """
    if descriptors := os.environ.pop(_HANDED_OVER, ""):
        return [socket.socket(fileno=int(descriptor)) for descriptor in descriptors.split(",")]
    ports = [settings.port, *([] if settings.management_port is None else [settings.management_port])]
    return [listen(settings.host, port) for port in ports]


def hand_over(sockets: Sequence[socket.socket]) -> None:
    """Have `listeners` return these, in the program that is about to take this one's place in its process.

    Whoever connects meanwhile waits for it, rather than being refused.
    """
    for each in sockets:
        each.set_inheritable(True)
    os.environ[_HANDED_OVER] = ",".join(str(each.fileno()) for each in sockets)


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
