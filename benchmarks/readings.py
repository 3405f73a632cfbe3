"""What one measurement says, and what several of the same say together."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True)
class Window:
    """A stretch of `time.monotonic`, which is the same clock in every process."""

    from_s: float
    to_s: float

    @classmethod
    def ahead(cls, warm_s: float, length_s: float) -> Window:
        """Return the window that opens in `warm_s` seconds."""
        opens_s = time.monotonic() + warm_s
        return cls(opens_s, opens_s + length_s)


@dataclass(frozen=True)
class Reading:
    """One measurement of one cell.

    Attributes:
        images_per_s: Images classified per second.
        cpu_ms: CPU milliseconds per image: the server's with all its processes, or the bare loop's.
        p50_ms: Median latency in milliseconds; NaN where there is none to speak of.
        p99_ms: 99th percentile of the latency.
        failed: Requests not answered with 200.
        client_cpu: Cores that the load generator kept busy; NaN where there is none.
    """

    images_per_s: float
    cpu_ms: float
    p50_ms: float = float("nan")
    p99_ms: float = float("nan")
    failed: int = 0
    client_cpu: float = float("nan")

    def to_json(self) -> dict[str, float | int | None]:
        """Return the fields; what is not a number is null, as JSON has no NaN."""
        return {name: None if value != value else value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Cell:
    """One thing to measure, again and again.

    Attributes:
        name: What it is called in the results.
        read: Measures it once.
        rounds: In how many rounds, where it takes too long for all of them.
    """

    name: str
    read: Callable[[], Reading]
    rounds: int | None = None


Readings = dict[str, list[Reading]]


def median(readings: Sequence[Reading]) -> Reading:
    """Return the median of each field; failures are added up."""
    middle = {f.name: statistics.median(getattr(r, f.name) for r in readings) for f in fields(Reading)}
    middle["failed"] = sum(reading.failed for reading in readings)
    return Reading(**middle)


def ratio(above: Sequence[Reading], below: Sequence[Reading]) -> float:
    """Return the median, over rounds, of the ratio of images per second: what troubled a round troubled both."""
    return statistics.median(a.images_per_s / b.images_per_s for a, b in zip(above, below, strict=False))


def cpu_ratio(above: Sequence[Reading], below: Sequence[Reading]) -> float:
    """Return how much more CPU time an image takes, the median over rounds; it holds on a busy machine too."""
    return statistics.median(a.cpu_ms / b.cpu_ms for a, b in zip(above, below, strict=False))


def in_turns(cells: Sequence[Cell], rounds: int, until_s: float = math.inf) -> Readings:
    """Measure every cell once a round, each round beginning with another cell.

    Args:
        cells: What to measure.
        rounds: How often.
        until_s: When, by the monotonic clock, no further round begins; the first one always does.
    """
    readings: Readings = {cell.name: [] for cell in cells}
    for number in range(rounds):
        if number and time.monotonic() > until_s:
            break
        start = number % len(cells)
        for cell in (*cells[start:], *cells[:start]):
            if cell.rounds is None or number < cell.rounds:
                readings[cell.name].append(cell.read())
    return readings
