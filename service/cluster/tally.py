"""Where each process counts: one ledger, in a file beside the sockets, with a row for each place a process can fill."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.metrics import Metrics

if TYPE_CHECKING:
    from pathlib import Path

    from service.settings import Settings


def models_of(settings: Settings) -> list[str]:
    """Return the service's models, each named with its version."""
    assert settings.model is not None  # noqa: S101 - `run.serve` has named them
    return settings.model.split(",")


class Tally:
    """The ledger of one service: the supervisor's row, then the frontends', then the engines'.

    Args:
        settings: Of the service.
        folder: Of the sockets.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._path = folder / "metrics"
        self._frontends = settings.frontends
        self._rows = 1 + settings.frontends + len(models_of(settings)) * len(settings.devices)
        self._largest = settings.max_batch_size

    def share(self) -> Metrics:
        """Make the file, and return what the supervisor counts with.

        Raises:
            StartError: there is no room for it.
        """
        return Metrics.share(self._path, self._rows, self._largest)

    def frontend(self, index: int) -> Metrics:
        """Return what a frontend counts with."""
        return Metrics.join(self._path, 1 + index, self._largest)

    def engine(self, index: int) -> Metrics:
        """Return what an engine counts with, by its number among those of all models."""
        return Metrics.join(self._path, 1 + self._frontends + index, self._largest)
