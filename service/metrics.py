"""One process's counting of what `service.families` lists. How it is shown to Prometheus, `service.api.metrics` knows.

Handed in, not reached for: `create_app` makes one `Metrics`, or is given a frontend's share of a ledger. Recording is
a few additions to memory (docs/metrics.md has the cost), at places looked up when the service was put together.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Literal

from service import families
from service.families import CELLS, MODELS, OFFSETS, OUTCOMES, PREDICTIONS_AT
from service.ledger import Ledger

if TYPE_CHECKING:
    from pathlib import Path

    from service.errors import ServiceError
    from service.families import Family

DropReason = Literal["cancelled", "expired"]


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
        ledger: Where; by default one of this process's own.
        row: Which row of it is this process's.

    Attributes:
        ledger: Everybody's counts.
    """

    def __init__(self, ledger: Ledger | None = None, row: int = 0) -> None:
        self.ledger = ledger or Ledger(CELLS, MODELS)
        self._row = row
        self._cells = cells = self.ledger.cells(row)
        cells[OFFSETS[families.IN_FLIGHT.name, ()]] = 0.0  # what a dead predecessor had
        self._decode = Histogram(cells, families.DECODE_SECONDS)
        self._queue = Histogram(cells, families.QUEUE_SECONDS)
        self._inference = Histogram(cells, families.INFERENCE_SECONDS)
        self._images = Histogram(cells, families.BATCH_IMAGES)

    @classmethod
    def share(cls, path: Path, rows: int) -> Metrics:
        """Make a ledger for `rows` processes in the file `path`, and count in its first row.

        Raises:
            StartError: there is no room for it.
        """
        return cls(Ledger.share(path, rows, CELLS, MODELS))

    @classmethod
    def join(cls, path: Path, row: int) -> Metrics:
        """Count in one row of the ledger in the file `path`."""
        return cls(Ledger.join(path, CELLS, MODELS), row)

    def requests(self, endpoint: str) -> Requests:
        """Return what counts the requests to one of `ENDPOINTS`."""
        return Requests(self._cells, endpoint)

    def model(self, name: str, version: str) -> int:
        """Return by which number `predicted` knows a model; the same each time."""
        wanted = f"{name}\n{version}"
        for column in range(MODELS):
            known = self.ledger.name(self._row, column)
            if not known:
                self.ledger.set_name(self._row, column, wanted)
            if known in ("", wanted):
                return column
        return MODELS

    def predicted(self, model: int, images: int, decode_s: float, queue_s: float) -> None:
        """Count a request of which `images` images were classified by `model`."""
        self._cells[PREDICTIONS_AT + model] += images
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
        """Say how many runs this process's engine can do at the same time."""
        self._cells[OFFSETS[families.LANES.name, ()]] = lanes

    def _image_s(self) -> float:
        """Return what an image has cost so far in the engines' runs, on average."""
        total = self.ledger.total()
        images = total[_sum_of(families.BATCH_IMAGES)]
        return float(total[_sum_of(families.INFERENCE_SECONDS)] / images) if images else 0.0

    def _add(self, family: Family, labels: tuple[str, ...], amount: float) -> None:
        self._cells[OFFSETS[family.name, labels]] += amount
