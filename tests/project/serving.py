"""A server started by a command, as a person starts one, and stopped as a person stops it: Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import httpx

READY_WITHIN_S = 300  # a first `make serve` exports; seconds where there is an artefact


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


class Serving:
    """A service, or the command that will be one.

    Attributes:
        url: Where it listens.
        log: All that it wrote, both streams together; also after it has stopped.
        seconds: From the command to readiness.
    """

    def __init__(self, process: subprocess.Popen[bytes], output: BinaryIO, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.log = ""
        self._process = process
        self._output = output

    def wait_until_ready(self) -> None:
        """Return once a request would be answered."""
        started_s = time.monotonic()
        while not self._ready():
            gave_up = time.monotonic() > started_s + READY_WITHIN_S
            if gave_up or self._process.poll() is not None:
                raise AssertionError(f"exit code {self._process.poll()}:\n{self._read()}")
            time.sleep(0.1)
        self.seconds = time.monotonic() - started_s
        self._read()

    def stop(self) -> None:
        """Press Ctrl-C, and wait until it has ended."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGINT)
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            raise
        finally:
            self._read()

    def _read(self) -> str:
        self.log = os.pread(self._output.fileno(), 1 << 24, 0).decode()
        return self.log

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz").status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def serving(command: str, cwd: Path, *, port: int, env: Mapping[str, str]) -> Iterator[Serving]:
    """Run a shell command that ends up serving on `port`; in the block, it is ready."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            ["sh", "-c", command],
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a terminal's Ctrl-C reaches the whole group, and not us
        )
        service = Serving(process, log, port)
        try:
            service.wait_until_ready()
            yield service
        finally:
            service.stop()
