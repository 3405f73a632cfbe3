"""The real `resnet-serve`, started, watched and stopped."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_READY_WITHIN_S = 60.0
_STOPPED_WITHIN_S = 40.0
_POLL_S = 0.005


class ServerFailed(RuntimeError):
    """The service did not become ready; the message holds its log."""


@dataclass(frozen=True)
class Server:
    """A service that answers.

    Attributes:
        pid: Its process; others may be its children.
        host: Where it listens.
        port: Where it listens.
        ready_s: Seconds from the command to readiness.
    """

    pid: int
    host: str
    port: int
    ready_s: float

    @property
    def url(self) -> str:
        """Where images are sent."""
        return f"http://{self.host}:{self.port}/classify"


@contextmanager
def serving(artifacts: Path, model: str, *arguments: str, ready_within_s: float = _READY_WITHIN_S) -> Iterator[Server]:
    """Run `resnet-serve` on a free port of 127.0.0.1; in the block, it is ready.

    Args:
        artifacts: A model repository.
        model: Of it.
        arguments: Of the command besides.
        ready_within_s: How long it may take.

    Raises:
        ServerFailed: it ended, or took too long.
    """
    port = free_port()
    command = [sys.executable, "-m", "service", "--artifacts", str(artifacts), "--model", model]
    command += ["--port", str(port), "--log-level", "warning", *arguments]
    with tempfile.TemporaryFile() as log:
        started_s = time.monotonic()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            _wait_until_ready(process, port, log, ready_within_s)
            yield Server(process.pid, "127.0.0.1", port, time.monotonic() - started_s)
        finally:
            _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: BinaryIO, within_s: float) -> None:
    give_up_s = time.monotonic() + within_s
    while not is_ready(port):
        if process.poll() is not None or time.monotonic() > give_up_s:
            output = os.pread(log.fileno(), 1 << 20, 0).decode(errors="replace")
            raise ServerFailed(f"resnet-serve is not ready (exit code {process.poll()}):\n{output}")
        time.sleep(_POLL_S)


def is_ready(port: int) -> bool:
    """Return whether a service on `port` of this machine is ready."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOPPED_WITHIN_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
