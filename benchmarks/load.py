"""Load on a server, from a process of its own whose CPU time is watched as well."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.generator import Arrivals, Order, Summary
from benchmarks.processes import cpu_s
from benchmarks.readings import Reading, Window
from benchmarks.server import Server

_SCRIPT = Path(__file__).with_name("closed.lua")
_START_S = 0.5  # for the generator's process to be up and sending
LONG_RAMP_S = 2.0
_LONGEST_ANSWER_S = 45


@dataclass(frozen=True)
class Spent:
    """CPU seconds in one window.

    Attributes:
        server: Of the server and its children.
        client: Of the load generator.
    """

    server: float
    client: float


def generator_name() -> str:
    """Say what makes the closed loop's load on this machine."""
    return "wrk" if shutil.which("wrk") else "benchmarks.generator"


def closed_loop(
    server: Server, bodies: Sequence[Path], concurrency: int, window: tuple[float, float], ramp_s: float
) -> Reading:
    """Measure a server under `concurrency` clients, each with one request in flight.

    Args:
        server: What is measured.
        bodies: Images, sent in turn.
        concurrency: How many clients.
        window: Seconds of load before the measurement, and of the measurement.
        ramp_s: How long the first crowd of requests takes, `concurrency` / images per second; nothing is measured
            before that either. wrk's percentiles include it, so where it is long our own generator does the work.
    """
    warm_s, length_s = window
    stretch = Window.ahead(_START_S + warm_s + ramp_s, length_s)
    closed = _wrk if shutil.which("wrk") and ramp_s < LONG_RAMP_S else _python
    summary, spent = closed(server, bodies, concurrency, stretch)
    images = summary["images_per_s"] * length_s
    return Reading(
        images_per_s=summary["images_per_s"],
        cpu_ms=spent.server * 1e3 / images if images else float("nan"),
        p50_ms=summary["p50_ms"],
        p99_ms=summary["p99_ms"],
        failed=int(summary["failed"]),
        client_cpu=spent.client / length_s,
    )


def open_loop(
    server: Server, bodies: Sequence[Path], rates: Sequence[float], length_s: float
) -> list[tuple[float, Summary, Spent]]:
    """Measure a server under arrivals at each rate in turn, without a pause between them.

    A step's window is its last three quarters: by then, what the step before left behind has been answered.

    Returns:
        Offered images per second, what came of them, CPU seconds in the step's window.
    """
    begins = [time.monotonic() + _START_S + i * length_s for i in range(len(rates))]
    arrivals = tuple(Arrivals(rate, at, at + length_s) for rate, at in zip(rates, begins, strict=True))
    windows = [Window(step.from_s + length_s / 4, step.to_s) for step in arrivals]
    order = _order(server, bodies, windows, arrivals=arrivals)
    output, spent = _watched([sys.executable, "-m", "benchmarks.generator"], order.to_json(), server, windows)
    summaries = [Summary(**fields) for fields in json.loads(output)]
    return list(zip(rates, summaries, spent, strict=True))


def _wrk(server: Server, bodies: Sequence[Path], concurrency: int, window: Window) -> tuple[dict[str, float], Spent]:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as listing:
        listing.write("".join(f"{path}\n" for path in bodies))
        listing.flush()
        # wrk wants whole seconds; what comes after the window is not counted.
        seconds = int(window.to_s - time.monotonic()) + 1
        command = ["wrk", "--threads", "1", "--connections", str(concurrency), "--duration", f"{seconds}s"]
        command += ["--timeout", f"{_LONGEST_ANSWER_S}s", "--script", str(_SCRIPT), server.url, "--"]
        command += [repr(window.from_s), repr(window.to_s), listing.name]
        output, spent = _watched(command, "", server, [window])
    summary: dict[str, float] = json.loads(output.rstrip().rpartition("\n")[2])
    return summary, spent[0]


def _python(server: Server, bodies: Sequence[Path], concurrency: int, window: Window) -> tuple[dict[str, float], Spent]:
    order = _order(server, bodies, [window], clients=concurrency)
    output, spent = _watched([sys.executable, "-m", "benchmarks.generator"], order.to_json(), server, [window])
    (summary,) = json.loads(output)
    known = {name: float("nan") if value is None else value for name, value in summary.items()}
    return {**known, "failed": known["failed"] + known["refused_per_s"] * window.length_s}, spent[0]


def _order(
    server: Server,
    bodies: Sequence[Path],
    windows: Sequence[Window],
    clients: int = 0,
    arrivals: tuple[Arrivals, ...] = (),
) -> Order:
    return Order(
        host=server.host,
        port=server.port,
        path="/classify",
        bodies=[str(path) for path in bodies],
        windows=[(window.from_s, window.to_s) for window in windows],
        clients=clients,
        arrivals=arrivals,
    )


def _watched(command: Sequence[str], order: str, server: Server, windows: Sequence[Window]) -> tuple[str, list[Spent]]:
    """Run a load generator; return what it printed, and the CPU time that each window took.

    Raises:
        RuntimeError: it failed; the message is its own.
    """
    with tempfile.TemporaryFile("w+") as stdin, tempfile.TemporaryFile("w+") as stdout:
        stdin.write(order)
        stdin.seek(0)
        process = subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=subprocess.STDOUT)
        try:
            spent = [_spent(server.pid, process.pid, window) for window in windows]
            process.wait(timeout=_LONGEST_ANSWER_S)
        finally:
            process.kill()  # of no effect once it has ended
            process.wait()
        stdout.seek(0)
        output = stdout.read()
    if process.returncode != 0:
        raise RuntimeError(f"{command[0]} failed:\n{output[-2000:]}")
    return output, spent


def _spent(server: int, client: int, window: Window) -> Spent:
    _sleep_until(window.from_s)
    before = cpu_s(server), cpu_s(client)
    _sleep_until(window.to_s)
    return Spent(cpu_s(server) - before[0], cpu_s(client) - before[1])


def _sleep_until(moment_s: float) -> None:
    time.sleep(max(0.0, moment_s - time.monotonic()))
