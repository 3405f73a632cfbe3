"""What each model was asked and what it ran: a block of cells for each, in every row of the ledger.

    row:    cells of service.families │ block of model 0 │ block of model 1 │ … │ block of every further model │ beats
    block:  totals │ runs of one image, of two, … of the largest batch │ the seconds that these took, likewise

A frontend writes what it answered, an engine what it ran; whoever is asked adds up all rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from service.families import CELLS, MODELS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from service.errors import ServiceError
    from service.ledger import Ledger
    from service.metrics import DropReason, Metrics
    from service.model import Timing

OTHER = MODELS  # the column of models that there was no other for


class Total:
    """Cells of a block; those of requests are of requests that were answered, unless they say otherwise."""

    # Plain numbers: members of an enum take twice as long to be found.

    IMAGES = 0  # classified, also from answers that were kept
    ANSWERED = 1  # requests
    ANSWERED_S = 2
    FAILED = 3  # requests that were not answered, for whatever reason
    FAILED_S = 4
    COMPUTED = 5  # requests of which the engine has run some image
    DECODE_S = 6
    QUEUE_S = 7
    INFERENCE_S = 8
    ANSWER_S = 9  # from rows to the answer
    KNOWN = 10  # images whose row was kept, or computed for another
    KNOWN_S = 11
    MISSED = 12  # images that were looked up in vain
    MISSED_S = 13
    LATEST_MS = 14  # when the latest request was answered, since the epoch; the only one not to be added up


_TOTALS = Total.LATEST_MS + 1


class Layout:
    """Where in a row the blocks are.

    Args:
        largest: Images in one run at most.

    Attributes:
        cells: Of a whole row.
        beats: The last of them, how often its process has said that it runs.
    """

    def __init__(self, largest: int) -> None:
        self.largest = largest
        self._size = _TOTALS + 2 * largest
        self.beats = CELLS + (MODELS + 1) * self._size
        self.cells = self.beats + 1

    def block(self, column: int) -> slice:
        """Return where the block of a column is."""
        start = CELLS + column * self._size
        return slice(start, start + self._size)


class Columns:
    """Which model counts where in one process's row.

    Args:
        ledger: Everybody's counts.
        row: This process's.
        layout: Of a row.
    """

    def __init__(self, ledger: Ledger, row: int, layout: Layout) -> None:
        self._ledger = ledger
        self._row = row
        self._layout = layout
        self._cells = ledger.cells(row)
        self._users = [0] * MODELS
        # Of what is served no longer, the longest gone first; at first what a predecessor in this row has counted.
        self._left = [column for column in range(MODELS) if ledger.name(row, column)]

    def take(self, name: str, version: int) -> int:
        """Return a model's column, the one that it has had before if there is; `OTHER` when all are in use."""
        column = self._column_of(f"{name}\n{version}")
        if column != OTHER:
            self._users[column] += 1
            if column in self._left:
                self._left.remove(column)
        return column

    def leave(self, column: int) -> None:
        """Say that a model counts no more; it can still be read until its place is needed."""
        if column != OTHER:
            self._users[column] -= 1
            if not self._users[column]:
                self._left.append(column)

    def block(self, column: int) -> memoryview[float]:
        """Return the block of a column, to be written to."""
        return self._cells[self._layout.block(column)]

    def _column_of(self, wanted: str) -> int:
        known = [self._ledger.name(self._row, column) for column in range(MODELS)]
        if wanted in known:
            return known.index(wanted)
        free = known.index("") if "" in known else next(iter(self._left), OTHER)
        if free != OTHER:
            block = self.block(free)
            for cell in range(len(block)):  # before its name, so that nobody is taken for another
                block[cell] = 0.0
            self._ledger.set_name(self._row, free, wanted)
        return free


class ModelCounts:
    """Counts for one model in one process, and for the whole service what a model has a part in.

    Args:
        metrics: Of the process.
        block: Its block.
        leave: Called once nothing is counted any more.
    """

    def __init__(self, metrics: Metrics, block: memoryview[float], leave: Callable[[], None]) -> None:
        self._metrics = metrics
        self._block = block
        self._runs = _TOTALS - 1  # before the first, since no run has no images
        self._seconds = self._runs + metrics.layout.largest
        self.close = leave

    def predicted(self, images: int, decode_s: float, queue_s: float) -> None:
        """Count a request of which `images` images were classified."""
        self._block[Total.IMAGES] += images
        self._metrics.predicted(decode_s, queue_s)

    def refused(self, error: ServiceError) -> None:
        """Count an image that did not come to pixels."""
        self._metrics.refused(error)

    def dropped(self, reason: DropReason, images: int) -> None:
        """Count images, if any, that give their place up before the engine took them."""
        self._metrics.dropped(reason, images)

    def ran(self, images: int, seconds: float) -> None:
        """Count a run of the engine."""
        self._block[self._runs + images] += 1.0
        self._block[self._seconds + images] += seconds
        self._metrics.ran(images, seconds)

    def looked_up(self, *, hits: int, shared: int, misses: int, seconds: float) -> None:
        """Count images that were looked up in the answers that are kept, which took `seconds` for all of them."""
        self._metrics.cached(hits=hits, shared=shared, misses=misses)
        image_s = seconds / (hits + shared + misses)
        self._block[Total.KNOWN] += hits + shared
        self._block[Total.KNOWN_S] += (hits + shared) * image_s
        self._block[Total.MISSED] += misses
        self._block[Total.MISSED_S] += misses * image_s

    def failed(self, seconds: float) -> None:
        """Count a request that this model was asked and that was not answered, after `seconds`."""
        self._block[Total.FAILED] += 1.0
        self._block[Total.FAILED_S] += seconds

    def answered(self, seconds: float, timing: Timing, answer_s: float, at_ms: float) -> None:
        """Count a request that was answered.

        Args:
            seconds: From its head to its answer.
            timing: Where they went.
            answer_s: How long the answer took to be made of the rows.
            at_ms: When that was, since the epoch.
        """
        block = self._block
        block[Total.ANSWERED] += 1.0
        block[Total.ANSWERED_S] += seconds
        block[Total.COMPUTED] += timing.inference_s > 0
        block[Total.DECODE_S] += timing.decode_s
        block[Total.QUEUE_S] += timing.queue_s
        block[Total.INFERENCE_S] += timing.inference_s
        block[Total.ANSWER_S] += answer_s
        block[Total.LATEST_MS] = at_ms


class Runs(NamedTuple):
    """Runs of one number of images, and the seconds that they took together."""

    images: int
    runs: int
    seconds: float


class Statistics:
    """What all processes together have counted for one model.

    Args:
        ledger: Everybody's counts.
        layout: Of a row.
        name: Of the model.
        version: Of it.
    """

    def __init__(self, ledger: Ledger, layout: Layout, name: str, version: int) -> None:
        wanted, table = f"{name}\n{version}", ledger.table()
        self._largest = layout.largest
        self._cells: NDArray[np.float64] = np.zeros(_TOTALS + 2 * layout.largest)
        for row in range(len(table)):
            for column in range(MODELS):  # each process has numbered the models as they came to it
                if ledger.name(row, column) == wanted:
                    block = table[row, layout.block(column)]
                    latest_ms = max(self._cells[Total.LATEST_MS], block[Total.LATEST_MS])
                    self._cells += block
                    self._cells[Total.LATEST_MS] = latest_ms

    def __getitem__(self, total: int) -> float:
        """Return one of the cells in `Total`."""
        return float(self._cells[total])

    def runs(self) -> Iterator[Runs]:
        """Yield the runs by their images, in ascending order, of those numbers of images that there were."""
        runs, seconds = np.split(self._cells[_TOTALS:], [self._largest])
        for index in np.flatnonzero(runs).tolist():
            yield Runs(index + 1, int(runs[index]), float(seconds[index]))
