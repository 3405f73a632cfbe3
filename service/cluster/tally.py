"""Where each process counts: one ledger, in a file beside the sockets, with a row for each place a process can fill."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.metrics import Metrics

if TYPE_CHECKING:
    from pathlib import Path

    from service.settings import Settings


class Tally:
    """The ledger of one service: the supervisor's row, then the frontends', then as many as there are engines.

    Args:
        settings: Of the service.
        folder: Of the sockets.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._path = folder / "metrics"
        self._frontends = settings.frontends
        self._largest = settings.max_batch_size

    def share(self) -> Metrics:
        """Make the file, and return what the supervisor counts with.

        Raises:
            StartError: there is no room for it.
        """
        return Metrics.share(self._path, 1 + self._frontends, self._largest)

    def frontend(self, index: int) -> Metrics:
        """Return what a frontend counts with."""
        return self.join(row_of_frontend(index))

    def join(self, row: int) -> Metrics:
        """Return what the process with a row counts with."""
        return Metrics.join(self._path, row, self._largest)


def row_of_frontend(index: int) -> int:
    """Return which row a frontend counts in."""
    return 1 + index


class Rows:
    """The rows of engines, as the supervisor hands them out: who comes when another has gone counts on in its row.

    Args:
        metrics: The supervisor's.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._free: list[int] = []

    def take(self) -> int:
        """Return a row that nobody has.

        Raises:
            StartError: there is no room for another.
        """
        return self._free.pop() if self._free else self._metrics.ledger.add_row()

    def give_back(self, row: int) -> None:
        """Say that nobody will fill an engine's place any more."""
        self._metrics.forget_lanes(row)
        self._free.append(row)

    def beats(self, row: int) -> float:
        """Return how often the processes that have a row have said that they run."""
        return self._metrics.beats(row)
