"""The figure: what is answered and how late, against what is offered; memory against time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure  # not pyplot: no window, no global state

from benchmarks.run import Growth, Measured


def draw(results: Sequence[Measured], path: Path) -> None:
    """Write the figure of the subject that has a growth curve; the file's suffix says in which format."""
    result = next(result for result in results if result.growth)
    figure = Figure(figsize=(15, 4.2), layout="constrained")
    throughput, latency, memory = figure.subplots(1, 3)
    figure.suptitle(f"{result.subject.name}: {result.subject.note}")
    _throughput(throughput, result.growth)
    _latency(latency, result.growth)
    _memory(memory, result)
    figure.savefig(path, dpi=120)


def _throughput(axes: Any, growth: Sequence[Growth]) -> None:
    offered = [step.offered_per_s for step in growth]
    axes.plot(offered, [step.summary.images_per_s for step in growth], "o-", label="answered")
    axes.plot(offered, [step.summary.refused_per_s for step in growth], "s--", label="refused (429)")
    axes.plot(offered, offered, ":", color="grey", label="offered")
    axes.set(xlabel="offered, images/s", ylabel="images/s", ylim=(0, None))
    axes.legend()


def _latency(axes: Any, growth: Sequence[Growth]) -> None:
    for label, name in (("p50", "p50_ms"), ("p99", "p99_ms"), ("p99 of a refusal", "refused_p99_ms")):
        points = [(s.offered_per_s, getattr(s.summary, name)) for s in growth if getattr(s.summary, name) is not None]
        axes.plot([x for x, _ in points], [y for _, y in points], "o-", label=label)
    axes.set(xlabel="offered, images/s", ylabel="latency, ms", yscale="log")
    axes.legend()


def _memory(axes: Any, result: Measured) -> None:
    axes.plot([seconds for seconds, _ in result.memory], [amount / 2**20 for _, amount in result.memory])
    axes.set(xlabel="seconds since ready", ylabel="resident memory, MiB", ylim=(0, None))
