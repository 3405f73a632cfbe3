"""What has to be reached on two cores of a CI machine, as ratios inside one run, and whether it was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.readings import median, ratio
from benchmarks.run import ALONE, Measured, service_cell


@dataclass(frozen=True)
class Verdict:
    """One target.

    Attributes:
        what: What is asked for.
        target: The figure to reach.
        reached: The figure reached.
        at_least: Whether more is better.
        unit: Of both.
    """

    what: str
    target: float
    reached: float
    at_least: bool = True
    unit: str = ""

    @property
    def met(self) -> bool:
        """Whether it was reached."""
        return self.reached >= self.target if self.at_least else self.reached <= self.target


def verdicts(results: list[Measured]) -> list[Verdict]:
    """Return every target that these results can speak of."""
    found: list[Verdict] = []
    for result in results:
        name = result.subject.name
        if name == "overhead":
            found += _overhead(result)
        else:
            found += _network(result, with_pillow=name == "resnet18-int8")
        found += _overload(result)
        if name == "resnet50":
            found.append(Verdict("resnet50: command to ready", 2.5, min(result.ready_s), False, "s"))
    return found


def _network(result: Measured, *, with_pillow: bool) -> Iterator[Verdict]:
    name, readings = result.subject.name, result.readings
    crowd, few, one = (service_cell(concurrency) for concurrency in (32, 8, 1))
    bound = readings[result.best(result.bound)]
    if crowd in readings:
        yield Verdict(f"{name}: concurrency 32 ÷ bound", 0.97, ratio(readings[crowd], bound))
    if crowd in readings and with_pillow:
        pillow = readings[result.best(result.pillow)]
        yield Verdict(f"{name}: concurrency 32 ÷ bound with Pillow", 1.04, ratio(readings[crowd], pillow))
    if few in readings:
        yield Verdict(f"{name}: concurrency 8 ÷ concurrency 32", 0.95, ratio(readings[few], readings[crowd]))
    if one in readings:
        over_ms = median(readings[one]).p50_ms - median(readings[ALONE]).p50_ms
        yield Verdict(f"{name}: p50 at concurrency 1 over decode + inference alone", 0.8, over_ms, False, "ms")


def _overhead(result: Measured) -> Iterator[Verdict]:
    crowd, frontends = service_cell(32), service_cell(32, 2)
    if crowd in result.readings:
        reading = median(result.readings[crowd])
        yield Verdict("overhead: one process", 2600, reading.images_per_s, unit="requests/s")
        yield Verdict("overhead: one process", 0.58, reading.cpu_ms, False, "CPU-ms a request")
    if frontends in result.readings:
        reading = median(result.readings[frontends])
        yield Verdict("overhead: two frontends", 3100, reading.images_per_s, unit="requests/s")


def _overload(result: Measured) -> Iterator[Verdict]:
    flooded = [step for step in result.growth if step.fraction >= 2]
    if not flooded:
        return
    peak = max(step.summary.images_per_s for step in result.growth)
    yield Verdict(
        f"{result.subject.name}: goodput at twice saturation ÷ peak", 0.95, flooded[-1].summary.images_per_s / peak
    )
    refused_ms = flooded[-1].summary.refused_p99_ms
    if refused_ms is not None:
        yield Verdict(f"{result.subject.name}: p99 of a refusal at twice saturation", 10, refused_ms, False, "ms")
