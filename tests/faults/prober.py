"""An outsider who asks every 50 ms whether the service is ready, and writes down what it hears.

Run as a process of its own, so that nothing that a test does holds it up: `python -m tests.faults.prober URL FILE`.
"""

from __future__ import annotations

import http.client
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from tests.conftest import ROOT

EVERY_S = 0.05
_PATIENCE_S = 2.0


class Sample(NamedTuple):
    """One question and its answer, on `time.monotonic`: 0 where there was none."""

    asked_s: float
    answered_s: float
    status: int

    @property
    def ready(self) -> bool:
        """Whether the service said so."""
        return self.status == 200


def ask(host: str, port: int) -> int:
    """Return the status of `/readyz`, 0 if nobody answers."""
    connection = http.client.HTTPConnection(host, port, timeout=_PATIENCE_S)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def main(url: str, file: Path) -> None:
    """Ask until killed."""
    host, port = urlsplit(url).hostname or "", urlsplit(url).port or 0
    with file.open("w", buffering=1) as log:
        while True:
            asked_s = time.monotonic()
            status = ask(host, port)
            print(asked_s, time.monotonic(), status, file=log)
            time.sleep(max(0.0, asked_s + EVERY_S - time.monotonic()))


class Prober:
    """The outsider's notes."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @property
    def samples(self) -> list[Sample]:
        """All that it has heard so far."""
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        fields = [line.split() for line in lines if line.count(" ") == 2]
        return [Sample(float(asked), float(answered), int(status)) for asked, answered, status in fields]


@contextmanager
def probing(url: str, file: Path) -> Iterator[Prober]:
    """Have an outsider ask the service at `url` as long as the block lasts."""
    process = subprocess.Popen([sys.executable, "-m", "tests.faults.prober", url, str(file)], cwd=ROOT)
    prober = Prober(file)
    try:
        while not prober.samples:
            assert process.poll() is None
            time.sleep(0.01)
        yield prober
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
