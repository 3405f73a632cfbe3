"""CPU time and memory of a process and its children, from Linux's /proc (proc(5))."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """Return a process and all its descendants that are alive."""
    found = [pid]
    for member in found:  # which grows as we go
        for task in Path(f"/proc/{member}/task").glob("*/children"):
            with suppress(OSError):  # the thread has just ended
                found += map(int, task.read_text().split())
    return found


def cpu_s(pid: int) -> float:
    """Return the CPU seconds, user and system, that a process and its living descendants have used."""
    ticks = 0
    for member in family(pid):
        with suppress(OSError):
            # The command's name may hold spaces and parentheses: fields are counted after the last one.
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS_PER_S


def memory_bytes(pid: int) -> int:
    """Return the resident memory of a process and its descendants; what several share is counted once (PSS)."""
    total = 0
    for member in family(pid):
        with suppress(OSError):
            for line in Path(f"/proc/{member}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


class MemoryWatch:
    """Samples a process's memory while the block runs.

    Attributes:
        samples: Seconds since the block began, bytes.
    """

    def __init__(self, pid: int, every_s: float = 0.5) -> None:
        self.samples: list[tuple[float, int]] = []
        self._pid = pid
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory watch")

    def __enter__(self) -> MemoryWatch:
        self._started_s = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.samples.append((time.monotonic() - self._started_s, memory_bytes(self._pid)))
            if self._stop.wait(self._every_s):
                return
