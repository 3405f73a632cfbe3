"""Load from several generators at once: one process cannot make as much as a card answers."""

from __future__ import annotations

import json
import math
import statistics
import sys
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.card.bodies import Load
from benchmarks.card.watch import Sample, Watch
from benchmarks.generator import Arrivals, Order, Summary
from benchmarks.load import rest_of_output, running, spent
from benchmarks.readings import Window
from benchmarks.server import Server

Read = Callable[[], Sample] | None  # reads the card, where something can


@dataclass(frozen=True)
class Reading:
    """What a crowd saw.

    Attributes:
        images_per_s: Answered with 200, all generators together.
        p50_ms: Median of the generators' medians.
        p99_ms: The largest of the generators' 99th percentiles: no less than that of all requests together.
        failed: Requests answered otherwise, refused ones included.
        batch_images: Images in a run of the engine, on average.
        server_cores: Cores that the service kept busy.
        client_cores: Cores that the generators kept busy.
        card_busy: Share of the time that the card was busy, from 0 to 1; None where nothing can say.
        card_mib: Most memory of the card in use, likewise.
    """

    images_per_s: float
    p50_ms: float
    p99_ms: float
    failed: int
    batch_images: float
    server_cores: float
    client_cores: float
    card_busy: float | None = None
    card_mib: float | None = None


def divided(total: int, parts: int) -> list[int]:
    """Return `total` in at most `parts` nearly equal parts, none of them zero."""
    parts = min(total, parts)
    return [total // parts + (number < total % parts) for number in range(parts)]


def merged(summaries: Sequence[Summary], length_s: float) -> tuple[float, float, float, int]:
    """Return images per second, p50 and p99 in ms, and failures of several generators together."""
    medians = [each.p50_ms for each in summaries if each.p50_ms is not None]
    tails = [each.p99_ms for each in summaries if each.p99_ms is not None]
    failed = sum(each.failed + round(each.refused_per_s * length_s) for each in summaries)
    return (
        sum(each.images_per_s for each in summaries),
        statistics.median(medians) if medians else math.nan,
        max(tails, default=math.nan),
        failed,
    )


def batch_images(before: str, after: str) -> float:
    """Return how many images a run had on average between two scrapes of /metrics; NaN where there was none."""
    runs, images = (
        _value(after, f"resnet_batch_images_{kind}") - _value(before, f"resnet_batch_images_{kind}")
        for kind in ("count", "sum")
    )
    return images / runs if runs else math.nan


def closed(
    server: Server,
    load: Load,
    clients: int,
    window_s: tuple[float, float],
    generators: int,
    read: Read,
) -> Reading:
    """Measure under so many clients, each with one request in flight; `window_s` is warm-up and length."""
    shares = divided(clients, generators)
    return _measure(server, load, [{"clients": share} for share in shares], window_s, read)


def arriving(
    server: Server,
    load: Load,
    per_s: float,
    window_s: tuple[float, float],
    generators: int,
    read: Read,
) -> Reading:
    """Measure under arrivals at a rate that waits for nobody."""
    return _measure(server, load, [{"per_s": per_s / generators}] * generators, window_s, read)


def _measure(
    server: Server,
    load: Load,
    shares: Sequence[dict[str, float]],
    window_s: tuple[float, float],
    read: Read,
) -> Reading:
    warm_s, length_s = window_s
    with ExitStack() as stack:
        processes = [stack.enter_context(running([sys.executable, "-m", "benchmarks.generator"])) for _ in shares]
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()  # "ready"
        window = Window.ahead(warm_s, length_s)
        for number, (process, share) in enumerate(zip(processes, shares, strict=True)):
            assert process.stdin is not None
            process.stdin.write(_order(server, load, share, window, warm_s, number).to_json() + "\n")
            process.stdin.flush()
        with Watch(read) as watch:
            before = _scrape(server)
            cpu = spent(server.pid, [process.pid for process in processes], window)
            after = _scrape(server)
        found = [Summary(**fields) for process in processes for fields in json.loads(rest_of_output(process))]
    return Reading(
        *merged(found, length_s),
        batch_images(before, after),
        cpu.server / length_s,
        cpu.client / length_s,
        watch.busy,
        watch.memory_mib,
    )


def _order(server: Server, load: Load, share: dict[str, float], window: Window, warm_s: float, number: int) -> Order:
    files = [str(path) for path in load.files]
    files = files[number:] + files[:number]  # not all the same at the same time
    arrivals: tuple[Arrivals, ...] = ()
    if "per_s" in share:
        arrivals = (Arrivals(share["per_s"], window.from_s - warm_s, window.to_s, seed=number),)
    return Order(
        server.host,
        server.port,
        load.path,
        files,
        [(window.from_s, window.to_s)],
        clients=int(share.get("clients", 0)),
        arrivals=arrivals,
        headers=load.headers,
    )


def _scrape(server: Server) -> str:
    with urllib.request.urlopen(f"http://{server.host}:{server.port}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def _value(scrape: str, name: str) -> float:
    return next((float(line.split()[1]) for line in scrape.splitlines() if line.startswith(f"{name} ")), 0.0)
