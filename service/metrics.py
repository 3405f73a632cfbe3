"""One process's counting of what `service.families` lists. How Prometheus is shown it, `service.api.exposition` knows.

Handed in, not reached for: `create_app` makes one `Metrics`, or is given a frontend's share of a ledger. Recording is
a few additions to memory (docs/metrics.md has the cost), at places looked up when the service was put together.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import partial
from typing import TYPE_CHECKING, Literal

from service import families
from service.families import MODELS, OFFSETS, OUTCOMES
from service.ledger import Ledger
from service.statistics import Columns, Layout, ModelCounts

if TYPE_CHECKING:
    from pathlib import Path

    from service.errors import ServiceError
    from service.families import Family

DropReason = Literal["cancelled", "expired"]

_LARGEST = 1024  # images of a run, by the setting's own bound


def _sum_of(histogram: Family, labels: tuple[str, ...] = ()) -> int:
    return OFFSETS[histogram.name, labels] + histogram.cells - 1


class Histogram:
    """Observes values of one series."""

    __slots__ = ("_at", "_bounds", "_cells", "_sum")

    def __init__(self, cells: memoryview[float], family: Family, labels: tuple[str, ...] = ()) -> None:
        self._cells = cells
        self._bounds = family.bounds
        self._at = OFFSETS[family.name, labels]
        self._sum = _sum_of(family, labels)

    def observe(self, value: float) -> None:
        """Count `value` in its bucket, the first whose upper bound is not below it."""
        self._cells[self._at + bisect_left(self._bounds, value)] += 1.0
        self._cells[self._sum] += value


class Requests:
    """Counts the requests to one endpoint."""

    __slots__ = ("_cells", "_failed", "_in_flight", "_outcomes", "_seconds")

    def __init__(self, cells: memoryview[float], endpoint: str) -> None:
        self._cells = cells
        self._in_flight = OFFSETS[families.IN_FLIGHT.name, ()]
        self._outcomes = {outcome: OFFSETS[families.REQUESTS.name, (endpoint, outcome)] for outcome in OUTCOMES}
        self._seconds = Histogram(cells, families.REQUEST_SECONDS, (endpoint,))

    def began(self) -> None:
        """Count a request that has come."""
        self._cells[self._in_flight] += 1.0

    def ended(self, outcome: str, seconds: float) -> None:
        """Count that it has ended, with one of `OUTCOMES`, after `seconds`."""
        self._cells[self._in_flight] -= 1.0
        self._cells[self._outcomes[outcome]] += 1.0
        self._seconds.observe(seconds)


class Metrics:
    """One process's counting.

    Args:
        largest: Images in one run at most.
        ledger: Where; by default one of this process's own.
        row: Which row of it is this process's.

    Attributes:
        ledger: Everybody's counts.
        layout: Where in a row those of a model are.
    """

    def __init__(self, largest: int = _LARGEST, ledger: Ledger | None = None, row: int = 0) -> None:
        self.layout = Layout(largest)
        self.ledger = ledger or Ledger(self.layout.cells, MODELS)
        self._columns = Columns(self.ledger, row, self.layout)
        self._cells = cells = self.ledger.cells(row)
        cells[OFFSETS[families.IN_FLIGHT.name, ()]] = 0.0  # what a dead predecessor had
        self._decode = Histogram(cells, families.DECODE_SECONDS)
        self._queue = Histogram(cells, families.QUEUE_SECONDS)
        self._inference = Histogram(cells, families.INFERENCE_SECONDS)
        self._images = Histogram(cells, families.BATCH_IMAGES)

    @classmethod
    def share(cls, path: Path, rows: int, largest: int) -> Metrics:
        """Make a ledger for `rows` processes in the file `path`, and count in its first row.

        Raises:
            StartError: there is no room for it.
        """
        return cls(largest, Ledger.share(path, rows, Layout(largest).cells, MODELS))

    @classmethod
    def join(cls, path: Path, row: int, largest: int) -> Metrics:
        """Count in one row of the ledger in the file `path`."""
        return cls(largest, Ledger(Layout(largest).cells, MODELS, path), row)

    def requests(self, endpoint: str) -> Requests:
        """Return what counts the requests to one of `ENDPOINTS`."""
        return Requests(self._cells, endpoint)

    def model(self, name: str, version: int) -> ModelCounts:
        """Return what counts for a model, until it is closed; of the same name and version it goes on."""
        column = self._columns.take(name, version)
        return ModelCounts(self, self._columns.block(column), partial(self._columns.leave, column))

    def predicted(self, decode_s: float, queue_s: float) -> None:
        """Count what a request that was predicted has spent before the engine."""
        self._decode.observe(decode_s)
        self._queue.observe(queue_s)

    def refused(self, error: ServiceError) -> None:
        """Count an image that did not come to pixels, for the reason of `error`."""
        reason = error.reason if (error.reason,) in families.REFUSED.series else "failed"
        self._add(families.REFUSED, (reason,), 1.0)

    def ran(self, images: int, seconds: float) -> None:
        """Count a run of the engine."""
        self._images.observe(images)
        self._inference.observe(seconds)

    def dropped(self, reason: DropReason, images: int) -> None:
        """Count images, if any, that give their place up before the engine took them."""
        if images:
            self._add(families.DROPPED, (reason,), images)
            self._add(families.SAVED_SECONDS, (), images * self._image_s())

    def cached(self, *, hits: int, shared: int, misses: int) -> None:
        """Count images that were looked up in the answers that are kept."""
        for outcome, images in (("hit", hits), ("shared", shared), ("miss", misses)):
            if images:
                self._add(families.CACHE, (outcome,), images)

    def turned_away(self, status: int) -> None:
        """Count a client that the protocol told one of `REFUSALS`, and disconnected."""
        self._add(families.TURNED_AWAY, (families.REFUSALS[status],), 1.0)

    def restarted(self, process: str) -> None:
        """Count that a `frontend` or `engine` died and is replaced."""
        self._add(families.RESTARTS, (process,), 1.0)

    def set_lanes(self, lanes: int) -> None:
        """Say how many runs this process's engines can do at the same time."""
        self._cells[OFFSETS[families.LANES.name, ()]] = lanes

    def add_lanes(self, lanes: int) -> None:
        """Say how many more, or fewer, runs they can do."""
        self._add(families.LANES, (), lanes)

    def beat(self) -> None:
        """Say that this process runs."""
        self._cells[self.layout.beats] += 1.0

    def beats(self, row: int) -> float:
        """Return how often the processes of a row have said so."""
        return self.ledger.cells(row)[self.layout.beats]

    def forget_lanes(self, row: int) -> None:
        """Say for a row whose process is gone, and has no successor, that no runs can be done there."""
        self.ledger.cells(row)[OFFSETS[families.LANES.name, ()]] = 0.0

    def _image_s(self) -> float:
        """Return what an image has cost so far in the engines' runs, on average."""
        images, seconds = self.ledger.total([_sum_of(families.BATCH_IMAGES), _sum_of(families.INFERENCE_SECONDS)])
        return float(seconds / images) if images else 0.0

    def _add(self, family: Family, labels: tuple[str, ...], amount: float) -> None:
        self._cells[OFFSETS[family.name, labels]] += amount
