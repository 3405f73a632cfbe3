"""What it costs to handle a file, measured in a process of its own.

    python -m tests.service.costs MODULE FOLDER MILLISECONDS

prints a line of JSON for each file: its name, the outcome, CPU milliseconds and MiB of resident memory at the peak.
`handler()` of the module returns what handles one.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from tests.conftest import ROOT

TRIES = 3  # at most, until one takes no longer than it may: the machine may be busy with something else


class Cost(NamedTuple):
    """Of one file."""

    name: str
    outcome: str
    milliseconds: float
    mebibytes: float


def costs(module: str, files: Iterable[tuple[str, bytes]], folder: Path, allowed_ms: float) -> list[Cost]:
    """Return what each of `files` costs the module's handler; they are not made where they are measured."""
    names = []
    for name, body in files:
        (folder / name).write_bytes(body)
        names.append(name)
    command = [sys.executable, "-m", "tests.service.costs", module, str(folder), str(allowed_ms)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    measured = [Cost(*json.loads(line)) for line in result.stdout.splitlines()]
    assert [cost.name for cost in measured] == sorted(names)
    return measured


def main(module: str, folder: Path, allowed_ms: float) -> None:
    handle = importlib.import_module(module).handler()
    for path in sorted(folder.iterdir()):
        body = path.read_bytes()
        outcome, milliseconds, mebibytes = _in_a_fork(handle, body)
        for _ in range(TRIES - 1):
            if milliseconds >= allowed_ms:
                milliseconds = min(milliseconds, _in_a_fork(handle, body)[1])
        print(json.dumps([path.name, outcome, milliseconds, mebibytes]), flush=True)


def _in_a_fork(handle: Callable[[bytes], object], body: bytes) -> tuple[str, float, float]:
    """Handle in a fork, whose peak of resident memory is its own; return (outcome, CPU ms, MiB)."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        start, resident = time.process_time(), _status("VmRSS")
        try:
            handle(body)
            outcome = "accepted"
        except Exception as error:
            outcome = type(error).__name__
        cost = (time.process_time() - start) * 1e3, (_status("VmHWM") - resident) / 1024
        os.write(writer, json.dumps([outcome, *cost]).encode())
        os._exit(0)
    os.close(writer)
    os.wait()
    with os.fdopen(reader, "rb") as pipe:
        outcome, milliseconds, mebibytes = json.loads(pipe.read())
    return outcome, milliseconds, mebibytes


def _status(field: str) -> int:
    """Return a line of this process's status, in KiB."""
    match = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match is not None
    return int(match[1])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))
