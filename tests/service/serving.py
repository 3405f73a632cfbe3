"""The real server: a subprocess of its own on a real socket, started and stopped as an init system does it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT

READY_WITHIN_S = 60
# Each way the service can be arranged, by the arguments that arrange it so: the API cannot tell them apart.
SHAPES: dict[str, tuple[str, ...]] = {"one process": (), "two frontends": ("--frontends", "2")}
# For what starts a server for itself, a second each time: with several processes always, as one process where the slow
# tests run too. What can be asked of a server that is shared is asked of both shapes in every run (`server`).
MAINLY_SEVERAL = [
    pytest.param(SHAPES["one process"], id="one process", marks=pytest.mark.slow),
    pytest.param(SHAPES["two frontends"], id="two frontends"),
]

_ANNOUNCED = re.compile(r"^Serving .* on (http://\S+)$", re.MULTILINE)
_MANAGEMENT = re.compile(r"^Health on (http://\S+)/healthz$", re.MULTILINE)


class Service:
    """A running server.

    Attributes:
        url: Where it listens.
        management: Where it is asked how it is: there too, or at a port of its own.
        pid: Its process.
    """

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self.pid = process.pid
        self._output = output
        self.url = self.management = ""

    @property
    def log(self) -> str:
        """All that it has written so far, both streams together."""
        return self._output.read_text()

    def wait_until_ready(self) -> None:
        """Return once it would answer a request; it listens on a port of its own choice, which it announces."""
        limit_s = time.monotonic() + READY_WITHIN_S
        while not self._ready():
            assert self.process.poll() is None, f"exit code {self.process.returncode}:\n{self.log}"
            assert time.monotonic() < limit_s, f"not ready in {READY_WITHIN_S} s:\n{self.log}"
            time.sleep(0.02)

    def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def _ready(self) -> bool:
        if not self.url:
            log = self.log
            announced, management = _ANNOUNCED.search(log), _MANAGEMENT.search(log)
            self.url = announced[1] if announced and "Try it:" in log else ""
            self.management = management[1] if management else self.url
        try:
            return bool(self.url) and httpx.get(f"{self.management}/readyz").status_code == 200
        except httpx.TransportError:
            return False


def environment(**changes: str) -> dict[str, str]:
    """Return this process's environment without the service's own variables, plus `changes`."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RESNET_")} | changes


def command(*arguments: str) -> list[str]:
    """Return the command line of `resnet-serve`."""
    return [sys.executable, "-m", "service", *arguments]


@contextmanager
def serving(
    artifacts: Path,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    ends_with: int = 0,
    through: Sequence[str] = (),
) -> Iterator[Service]:
    """Serve `artifacts` on a free port; in the block it is ready, after it, it has ended as it should.

    Args:
        artifacts: A model repository.
        arguments: Of `resnet-serve`.
        env: Its environment.
        ends_with: The exit code it should end with.
        through: A command that runs it, such as one that limits what it may use.
    """
    with starting(artifacts, *arguments, env=env, ends_with=ends_with, through=through) as service:
        service.wait_until_ready()
        yield service


@contextmanager
def starting(
    artifacts: Path,
    *arguments: str,
    port: int = 0,
    env: Mapping[str, str] | None = None,
    ends_with: int = 0,
    through: Sequence[str] = (),
) -> Iterator[Service]:
    """Serve `artifacts`, whether or not it will ever be ready; after the block, it has ended as it should."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "log"
        with output.open("wb") as log:
            process = subprocess.Popen(
                [*through, *command("--artifacts", str(artifacts), "--port", str(port), *arguments)],
                cwd=ROOT,
                env=dict(env or environment()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        service = Service(process, output)
        try:
            yield service
        finally:
            code = service.stop()
            text = service.log
        assert code == ends_with, f"exit code {code}:\n{text}"
        assert "Traceback" not in text, text
