"""Load on a server, from a process of its own whose CPU time is watched as well."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.generator import Arrivals, Order, Summary
from benchmarks.processes import cpu_s
from benchmarks.readings import Reading, Window
from benchmarks.server import Server

_SCRIPT = Path(__file__).with_name("closed.lua")
_PATH = "/classify"
_WRK_START_S = 0.3  # until it has read the images
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
    closed = _wrk if shutil.which("wrk") and ramp_s < LONG_RAMP_S else _python
    summary, cost = closed(server, bodies, concurrency, warm_s + ramp_s, length_s)
    images = summary["images_per_s"] * length_s
    return Reading(
        images_per_s=summary["images_per_s"],
        cpu_ms=cost.server * 1e3 / images if images else float("nan"),
        p50_ms=summary["p50_ms"],
        p99_ms=summary["p99_ms"],
        failed=int(summary["failed"]),
        client_cpu=cost.client / length_s,
    )


def open_loop(
    server: Server, bodies: Sequence[Path], rates: Sequence[float], length_s: float
) -> list[tuple[float, Summary, Spent]]:
    """Measure a server under arrivals at each rate in turn, without a pause between them.

    A step's window is its last three quarters: by then, most of what the step before left behind has been answered.

    Returns:
        Offered images per second, what came of them, CPU seconds in the step's window.
    """

    def order() -> Order:
        began_s = time.monotonic()
        steps = [began_s + number * length_s for number in range(len(rates))]
        return Order(
            server.host,
            server.port,
            _PATH,
            [str(path) for path in bodies],
            windows=[(at + length_s / 4, at + length_s) for at in steps],
            arrivals=tuple(Arrivals(rate, at, at + length_s) for rate, at in zip(rates, steps, strict=True)),
        )

    return list(zip(rates, *_generate(server, order), strict=True))


def _wrk(
    server: Server, bodies: Sequence[Path], concurrency: int, before_s: float, length_s: float
) -> tuple[dict[str, float], Spent]:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as listing:
        listing.write("".join(f"{path}\n" for path in bodies))
        listing.flush()
        window = Window.ahead(_WRK_START_S + before_s, length_s)
        # wrk wants whole seconds; what comes after the window is not counted.
        seconds = int(window.to_s - time.monotonic()) + 1
        command = ["wrk", "--threads", "1", "--connections", str(concurrency), "--duration", f"{seconds}s"]
        command += ["--timeout", f"{_LONGEST_ANSWER_S}s", "--script", str(_SCRIPT), server.url, "--"]
        command += [repr(window.from_s), repr(window.to_s), listing.name]
        with running(command) as process:
            cost = spent(server.pid, [process.pid], window)
            output = rest_of_output(process)
    summary: dict[str, float] = json.loads(output.rstrip().rpartition("\n")[2])
    return summary, cost


def _python(
    server: Server, bodies: Sequence[Path], concurrency: int, before_s: float, length_s: float
) -> tuple[dict[str, float], Spent]:
    def order() -> Order:
        window = Window.ahead(before_s, length_s)
        paths = [str(path) for path in bodies]
        return Order(server.host, server.port, _PATH, paths, [(window.from_s, window.to_s)], clients=concurrency)

    (summary,), (cost,) = _generate(server, order)
    known = {name: float("nan") if value is None else value for name, value in asdict(summary).items()}
    return {**known, "failed": known["failed"] + known["refused_per_s"] * length_s}, cost


def _generate(server: Server, order: Callable[[], Order]) -> tuple[list[Summary], list[Spent]]:
    """Have our generator carry out an order, which is made when it is ready: it names moments in time."""
    with running([sys.executable, "-m", "benchmarks.generator"]) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()  # "ready"
        made = order()
        process.stdin.write(made.to_json() + "\n")
        process.stdin.flush()
        costs = [spent(server.pid, [process.pid], Window(*window)) for window in made.windows]
        output = rest_of_output(process)
    return [Summary(**fields) for fields in json.loads(output)], costs


@contextmanager
def running(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """Run a load generator; in the block, it runs."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()  # of no effect once it has ended


def rest_of_output(process: subprocess.Popen[str]) -> str:
    """Return what a load generator printed, once it has ended.

    Raises:
        RuntimeError: it failed.
    """
    output, _ = process.communicate(timeout=_LONGEST_ANSWER_S)
    if process.returncode != 0:
        raise RuntimeError(f"the load generator failed (exit code {process.returncode}): {output[-2000:]}")
    return output


def spent(server: int, clients: Sequence[int], window: Window) -> Spent:
    """Return what a server's process and load generators' spend in a window that has not opened yet; blocks."""

    def now() -> tuple[float, float]:
        return cpu_s(server), sum(cpu_s(client) for client in clients)

    _sleep_until(window.from_s)
    before = now()
    _sleep_until(window.to_s)
    after = now()
    return Spent(after[0] - before[0], after[1] - before[1])


def _sleep_until(moment_s: float) -> None:
    time.sleep(max(0.0, moment_s - time.monotonic()))
