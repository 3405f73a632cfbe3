"""How busy a card is and what it holds, sampled while a block runs: by nvidia-ml-py, or else by nvidia-smi."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

Sample = tuple[float, float]  # per cent of the time that some kernel ran, MiB in use


def reader(device: int = 0) -> Callable[[], Sample] | None:
    """Return what reads a card, or None where nothing can."""
    try:
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(device)
    except Exception:  # not installed, no driver, no such card
        return _smi(device) if shutil.which("nvidia-smi") else None

    def read() -> Sample:
        used: Any = pynvml.nvmlDeviceGetMemoryInfo(handle).used
        return float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu), used / 2**20

    return read


def parse_smi(line: str) -> Sample:
    """Read a line of nvidia-smi's CSV without units: utilization.gpu, memory.used."""
    busy, used = line.split(",")
    return float(busy), float(used)


def _smi(device: int) -> Callable[[], Sample]:
    command = [
        "nvidia-smi",
        f"--id={device}",
        "--query-gpu=utilization.gpu,memory.used",
        "--format=csv,noheader,nounits",
    ]
    return lambda: parse_smi(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


class Watch:
    """Samples while the block runs.

    Attributes:
        samples: What was read; none where nothing can.
    """

    def __init__(self, read: Callable[[], Sample] | None, every_s: float = 0.2) -> None:
        self.samples: list[Sample] = []
        self._read, self._every_s = read, every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="card watch")

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def busy(self) -> float | None:
        """Share of the time that the card was busy, from 0 to 1, or None."""
        return sum(busy for busy, _ in self.samples) / len(self.samples) / 100 if self.samples else None

    @property
    def memory_mib(self) -> float | None:
        """Most memory of the card in use, or None."""
        return max((used for _, used in self.samples), default=None)

    def _watch(self) -> None:
        while self._read is not None and not self._stop.wait(self._every_s):
            self.samples.append(self._read())
