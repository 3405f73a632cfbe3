"""The results for people (Markdown) and for programs (JSON)."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.load import generator_name
from benchmarks.plan import Plan
from benchmarks.readings import cpu_ratio, median, ratio
from benchmarks.run import ALONE, Growth, Measured
from benchmarks.targets import verdicts
from service.threads import available_cores

_DISTRIBUTIONS = ("resnet-serve", "onnxruntime", "fastapi", "starlette", "uvicorn", "numpy", "pillow", "simplejpeg")


def circumstances(command: Sequence[str], plan: Plan) -> dict[str, Any]:
    """Return what a reader needs in order to repeat a run that is about to begin: machine, versions, command, plan."""
    return {
        "command": " ".join(command),
        "commit": _commit(),
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_model(),
        "cores": available_cores(),
        # How many processes wanted a core during the last minute: others' work spoils ours.
        "load_average_before": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _DISTRIBUTIONS},
        "closed_loop": generator_name(),
        "open_loop": "benchmarks.generator",
        "plan": asdict(plan),
    }


def to_json(about: dict[str, Any], results: Sequence[Measured]) -> dict[str, Any]:
    """Return everything that was measured, every round of it."""
    judged = [{**asdict(verdict), "met": verdict.met} for verdict in verdicts(list(results))]
    return {"about": about, "targets": judged, "subjects": [_subject_json(result) for result in results]}


def _subject_json(result: Measured) -> dict[str, Any]:
    return {
        "name": result.subject.name,
        "note": result.subject.note,
        "bound": result.best(result.bound),
        "ready_s": result.ready_s,
        "idle_cpu": result.idle_cpu,
        "cells": {
            name: {"median": median(rounds).to_json(), "rounds": [reading.to_json() for reading in rounds]}
            for name, rounds in result.readings.items()
        },
        "growth": [asdict(step) for step in result.growth],
        "memory": result.memory,
    }


def to_markdown(about: dict[str, Any], results: Sequence[Measured]) -> str:
    """Return the tables."""
    how = (
        f"`{about['command']}` at {about['commit']}, {about['seconds']:.0f} s; load average before: "
        f"{about['load_average_before']}. Closed loop by {about['closed_loop']}, arrivals by {about['open_loop']}, "
        f"both on the same cores as the service; medians of up to {about['plan']['rounds']} interleaved rounds. "
        "Alone and at concurrency 1, of every tenth image. CPU-ms are the server's, of all its processes, an image."
    )
    lines = [f"# Benchmark: {about['cores']} cores, {about['cpu']}", "", how, ""]
    for result in results:
        lines += [f"## {result.subject.name}", "", f"{result.subject.note}.", "", *_cells(result), ""]
        lines += [_starts(result), "", *_growth(result.growth)]
    lines += ["## Targets", "", *_targets(results), ""]
    return "\n".join(lines)


def _cells(result: Measured) -> Iterator[str]:
    readings = result.readings
    bound, pillow = readings[result.best(result.bound)], readings[result.best(result.pillow)]
    yield _row("", "images/s", "÷ bound", "÷ bound with Pillow", "p50 ms", "p99 ms", "CPU-ms", "÷ bound's",
               "generator", "failed")  # fmt: skip
    yield _row("---", *["--:"] * 9)
    for name, rounds in readings.items():
        reading = median(rounds)
        ratios = ["", ""] if name == ALONE else [f"{ratio(rounds, other):.3f}" for other in (bound, pillow)]
        served = reading.client_cpu == reading.client_cpu
        yield _row(
            name,
            f"{reading.images_per_s:,.1f}",
            *ratios,
            _figure(reading.p50_ms),
            _figure(reading.p99_ms),
            _figure(reading.cpu_ms),
            f"{cpu_ratio(rounds, bound):.3f}",
            f"{reading.client_cpu:.2f} cores" if served else "",
            str(reading.failed) if served else "",
        )


def _starts(result: Measured) -> str:
    starts = ", ".join(f"{seconds:.2f}" for seconds in result.ready_s)
    amounts = [amount / 2**20 for _, amount in result.memory]
    return (
        f"Command to ready: {starts} s. Idle: {result.idle_cpu:.3f} cores. Memory: {amounts[0]:,.0f} MiB when ready, "
        f"{amounts[-1]:,.0f} MiB at last, {max(amounts):,.0f} MiB at most."
    )


def _growth(growth: Sequence[Growth]) -> Iterator[str]:
    if not growth:
        return
    yield _row("offered/s", "÷ saturation", "answered/s", "p50 ms", "p99 ms", "refused/s", "refusal's p99 ms", "failed",
               "server", "generator", "generator late, p99 ms")  # fmt: skip
    yield _row(*["--:"] * 11)
    for step in growth:
        summary = step.summary
        yield _row(
            f"{step.offered_per_s:,.1f}",
            f"{step.fraction:g}",
            f"{summary.images_per_s:,.1f}",
            _figure(summary.p50_ms),
            _figure(summary.p99_ms),
            f"{summary.refused_per_s:,.1f}",
            _figure(summary.refused_p99_ms),
            str(summary.failed),
            f"{step.spent.server / step.seconds:.2f} cores",
            f"{step.spent.client / step.seconds:.2f} cores",
            _figure(summary.late_p99_ms),
        )
    yield ""


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _figure(value: float | None) -> str:
    return "" if value is None or value != value else f"{value:,.2f}"


def _targets(results: Sequence[Measured]) -> Iterator[str]:
    yield _row("", "target", "reached", "")
    yield _row("---", "--:", "--:", "---")
    for verdict in verdicts(list(results)):
        sign, unit = "≥" if verdict.at_least else "≤", f" {verdict.unit}" if verdict.unit else ""
        reached = f"{verdict.reached:,.3g}" if verdict.reached < 1000 else f"{verdict.reached:,.0f}"
        met = "met" if verdict.met else "**not met**"
        yield _row(verdict.what, f"{sign} {verdict.target:,g}{unit}", f"{reached}{unit}", met)


def _commit() -> str:
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    return described.stdout.strip() or "no commit"


def cpu_model() -> str:
    """Return the processor's name, or its architecture where the system has no name for it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
