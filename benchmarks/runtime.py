"""What the service is built on, piece by piece: ONNX Runtime's sessions, threads called from the event loop, memory.

    python -m benchmarks.runtime                 (minutes: 204 s at a load average of 7 on two cores; no GPU)

Contenders take turns, round after round, and the median round counts. Prints Markdown tables. Where others work on
the machine too, trust CPU time, and ratios within a table; what is said of memory holds all the same.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import cache, partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ParamSpec, TypeVar

import onnxruntime as ort
import uvloop

from benchmarks.readings import Cell, Reading, in_turns, median
from benchmarks.report import cpu_model
from benchmarks.sessions import MIX, Layout, Lone, Start, after_pauses, held, load, loading, run, throughput
from benchmarks.subjects import NETWORKS, Subject, network, overhead, photos
from service.threads import available_cores
from service.workers import Workers

P = ParamSpec("P")
T = TypeVar("T")

_CORES = available_cores()
LAYOUTS = {
    "one run, 1 thread": Layout(1, 1),
    "one run, 1 thread, memory pattern": Layout(1, 1, pattern=True),
    "one run, all cores": Layout(1, _CORES),
    "one run, all cores, spinning": Layout(1, _CORES, spin=True),
    "a run a core on one 1-thread session": Layout(_CORES, 1),
    "a run a core on one all-cores session": Layout(_CORES, _CORES),
}
STARTS = {
    "one session": Start(1),
    "one session, memory pattern": Start(1, pattern=True),
    "one session, saved optimised model": Start(1, saved=True),
    "two sessions, one after the other": Start(2),
    "two sessions at once": Start(2, at_once=True),
    "two sessions at once, memory pattern": Start(2, at_once=True, pattern=True),
    "two sessions at once, saved optimised model": Start(2, at_once=True, saved=True),
}
LONE = {
    "threads sleep between operators": Lone(spin=False, bound=False),
    "threads spin between operators": Lone(spin=True, bound=False),
    "threads sleep, each on its core": Lone(spin=False, bound=True),
    "threads spin, each on its core": Lone(spin=True, bound=True),
}
PAUSES_MS = (0, 20, 100)
_CALLERS = 32
_LAYOUTS_S = 25.0  # no further round of them begins after that


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parsed = _parser().parse_args(arguments)
    parsed.scratch.mkdir(parents=True, exist_ok=True)
    rounds = 1 if parsed.quick else parsed.rounds
    print(
        f"{_CORES} cores, {cpu_model()}, load average {os.getloadavg()[0]:.1f}; ONNX Runtime {ort.__version__}",
        flush=True,
    )
    for subject in _subjects(parsed):
        batches = (1, 4, 8) if subject.name == "resnet50" else (1, 2, 4, 8)
        print_layouts(subject, batches, 0.01 if parsed.quick else 0.25, rounds)
        print_lone(subject, 2 if parsed.quick else 20, rounds)
        print_starts(subject, rounds)
    print_calls(320 if parsed.quick else 9_600, rounds)
    sets = {"2 KB": overhead(parsed.scratch).images}
    if not parsed.quick:
        sets["photos"] = photos(parsed.shared, parsed.scratch)[:50]
    print_decoding(sets, 10 if parsed.quick else 200, rounds)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = Path(__file__).resolve().parent.parent
    shared = Path(os.environ.get("RESNET_TEST_SHARED", root.parent / "shared"))
    parser.add_argument("--quick", action="store_true", help="seconds, with a toy network: to see that it works")
    parser.add_argument("--rounds", type=int, default=3, help="at most (default: %(default)s)")
    parser.add_argument("--shared", type=Path, default=shared, help="of weights/ and images/ (default: %(default)s)")
    parser.add_argument("--scratch", type=Path, default=root / "build" / "benchmarks", help="where artefacts are kept")
    return parser


def _subjects(parsed: argparse.Namespace) -> list[Subject]:
    if parsed.quick:
        return [overhead(parsed.scratch)]
    return [network(name, parsed.shared, parsed.scratch, partial(print, file=sys.stderr)) for name in NETWORKS]


def print_layouts(subject: Subject, batches: Sequence[int], seconds: float, rounds: int) -> None:
    """Print what arrangements of runs and threads reach."""
    kept, cells = cache(partial(load, subject.artefact)), []
    for name, layout in LAYOUTS.items():
        session = kept(layout.threads, layout.spin, layout.pattern)
        for batch in batches:
            run(session, batch)
            cells.append(Cell(f"{name}, {batch}", partial(throughput, session, layout.runs, batch, seconds)))
    readings = in_turns(cells, rounds, time.monotonic() + _LAYOUTS_S)
    rows = []
    for name in LAYOUTS:
        medians = [median(readings[f"{name}, {batch}"]) for batch in batches]
        figures = [f"{reading.images_per_s:,.1f} · {reading.cpu_ms:.2f}" for reading in medians]
        rows.append([name, f"{medians[0].p50_ms:.2f}", *figures])
    about = f"Images/s by the clock · CPU-ms an image; medians of {len(readings[cells[0].name])} rounds."
    _print_table(f"{subject.name}: layouts", about, ["ms a run of 1", *(f"batch {n}" for n in batches)], rows)


def print_lone(subject: Subject, count: int, rounds: int) -> None:
    """Print what a run of a lone image takes on all cores, after pauses in which they sleep."""
    cells = []
    for name, lone in LONE.items():
        session = load(subject.artefact, _CORES, lone.spin, bound=lone.bound)
        run(session, 1)
        for pause_ms in PAUSES_MS:
            measure = partial(after_pauses, session, lone.bound, pause_ms / 1e3, count)
            cells.append(Cell(f"{name}, {pause_ms}", measure))
    readings = in_turns(cells, rounds)
    rows = []
    for name in LONE:
        medians = [median(readings[f"{name}, {pause_ms}"]) for pause_ms in PAUSES_MS]
        rows.append([name, *(f"{reading.p50_ms:.2f} · {reading.cpu_ms:.2f}" for reading in medians)])
    about = f"ms by the clock · CPU-ms a run on all cores; p50 of {count} runs, medians of {rounds} rounds."
    _print_table(f"{subject.name}: lone images", about, [f"{pause} ms apart" for pause in PAUSES_MS], rows)


def print_starts(subject: Subject, rounds: int) -> None:
    """Print what loading takes, and the memory that sessions hold."""
    with TemporaryDirectory() as scratch, ThreadPoolExecutor(2) as pool:
        saved = Path(scratch) / "optimised.onnx"
        load(subject.artefact, save_as=saved)
        starts = {name: (saved if start.saved else subject.artefact, start) for name, start in STARTS.items()}
        readings = in_turns([Cell(name, partial(loading, *start)) for name, start in starts.items()], rounds)
        amounts = pool.map(lambda start: apart(held, *start), starts.values())
        rows = []
        for (name, each), held_bytes in zip(readings.items(), amounts, strict=True):
            figures = [median(each).p50_ms, median(each).cpu_ms, *(amount / 2**20 for amount in held_bytes)]
            rows.append([name, *(f"{figure:,.0f}" for figure in figures)])
    about = f"Loading: medians of {rounds} rounds. Memory: what a process holds more than before; batches of {MIX}."
    _print_table(f"{subject.name}: start-up", about, ["ms", "CPU-ms", "MiB loaded", "MiB after batches"], rows)


def print_calls(count: int, rounds: int) -> None:
    """Print what an awaited call on a thread costs that does nothing."""
    workers, pool = Workers(_CORES, "worker"), ThreadPoolExecutor(_CORES)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # the service's loop
        ways: dict[str, Callable[[], Awaitable[object]]] = {
            "`service.workers.Workers`": partial(workers.run, int),
            "`loop.run_in_executor`, `ThreadPoolExecutor`": partial(runner.get_loop().run_in_executor, pool, int),
        }
        cells = [Cell(name, partial(lambda way: runner.run(_awaited(way, count)), way)) for name, way in ways.items()]
        readings = in_turns(cells, rounds)
        workers.close()
        pool.shutdown()
    medians = {name: median(each) for name, each in readings.items()}
    rows = [[name, f"{each.cpu_ms * 1e3:.1f}", f"{each.images_per_s:,.0f}"] for name, each in medians.items()]
    about = f"{_CALLERS} callers at once, {_CORES} threads; medians of {rounds} rounds."
    _print_table("Calls on threads", about, ["CPU-µs a call", "calls/s"], rows)


async def _awaited(way: Callable[[], Awaitable[object]], count: int) -> Reading:
    async def caller() -> None:
        for _ in range(count // _CALLERS):
            await way()

    began_cpu_s, began_s = time.process_time(), time.monotonic()
    await asyncio.gather(*(caller() for _ in range(_CALLERS)))
    return Reading(count / (time.monotonic() - began_s), (time.process_time() - began_cpu_s) * 1e3 / count)


def print_decoding(sets: Mapping[str, Sequence[Path]], count: int, rounds: int) -> None:
    """Print what decoding costs where freed memory is kept, and where not."""
    where = {"on a thread": ["--thread"], "on the main thread": []}
    how = {"C library's defaults": [], "`keep_freed_memory`": ["--keep"]}
    ways = {
        f"{name}, {place}, {kept}": [*where[place], *how[kept], "--count", str(count), *map(str, images)]
        for (name, images), place, kept in product(sets.items(), where, how)
    }
    turns = [[freed(options) for options in ways.values()] for _ in range(rounds)]
    figures = {
        name: [statistics.median(each) for each in zip(*turn, strict=True)]
        for name, turn in zip(ways, zip(*turns, strict=True), strict=True)
    }
    rows = [[name, f"{cpu_us:,.0f}", f"{faults:.1f}"] for name, (cpu_us, faults) in figures.items()]
    about = f"{count} images a process; medians of {rounds} processes each. The service decodes on threads."
    _print_table("Freed memory", about, ["CPU-µs an image", "page faults an image"], rows)


def freed(options: Sequence[str]) -> tuple[float, float]:
    """Return what `benchmarks.freed` measures: CPU-µs and page faults an image."""
    command = [sys.executable, "-m", "benchmarks.freed", *options]
    done = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return done["cpu_us"], done["faults"]


def apart(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what `function` returns in a new process: memory depends on everything a process did before."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(function, *args, **kwargs).result()


def _print_table(title: str, about: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    lines = [["", *header], ["---", *["--:"] * len(header)], *rows]
    print(f"\n## {title}\n\n{about}\n", *("| " + " | ".join(line) + " |" for line in lines), sep="\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
