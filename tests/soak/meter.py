"""Memory and descriptors of all processes of a service, over time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

EVERY_S = 1.0


class Reading(NamedTuple):
    """What all processes together have at one moment."""

    elapsed_s: float
    processes: int
    resident_mib: float
    descriptors: int


class Meter:
    """Reads every second what the processes that `pids` returns have.

    Attributes:
        readings: In the order of time.
    """

    def __init__(self, pids: Callable[[], list[int]]) -> None:
        self.readings: list[Reading] = []
        self._pids = pids
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Read no more."""
        self._over.set()
        self._thread.join()

    def _go_on(self) -> None:
        started_s = time.monotonic()
        while True:
            found = [each for each in map(_of, self._pids()) if each is not None]
            resident, descriptors = (sum(column) for column in zip(*found, strict=True)) if found else (0.0, 0)
            elapsed_s = time.monotonic() - started_s
            self.readings.append(Reading(elapsed_s, len(found), resident, int(descriptors)))
            if self._over.wait(EVERY_S):
                return


def _of(pid: int) -> tuple[float, int] | None:
    """Return a process's own memory in MiB and its descriptors; None if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in status.splitlines())
    own = fields.get("RssAnon", "0 kB").split()[0]  # what is shared would count once for each
    return int(own) / 1024, descriptors
