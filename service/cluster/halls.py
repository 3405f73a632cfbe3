"""Makes halls: the supervisor's builder (`service.loader.Builder`)."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from service.cluster.hall import Hall
from service.cluster.post import Post
from service.cluster.seat import Seat
from service.cluster.shelf import Pinned
from service.cluster.tally import Rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from service.metrics import Metrics
    from service.repository import Artefact
    from service.settings import Settings


class Halls:
    """Makes halls, and knows all that there are, from when their engines are started until they have ended.

    Args:
        settings: Of the service.
        folder: Private, for sockets and artefacts.
        metrics: Where deaths are counted.
        lost: Called with the reason if the engines of a hall that serves cannot be replaced.
    """

    def __init__(self, settings: Settings, folder: Path, metrics: Metrics, lost: Callable[[str], None]) -> None:
        self._settings = settings
        self._folder = folder
        self._metrics = metrics
        self._lost = lost
        self._rows = Rows(metrics)
        self._numbers = itertools.count()
        self._names = itertools.count()
        self._every: list[Hall] = []
        self._begun: dict[Artefact, Hall] = {}

    @property
    def living(self) -> list[Hall]:
        """Those whose engines have not all ended."""
        return [hall for hall in self._every if not hall.closed]

    def begin(self, artefact: Artefact) -> None:
        """Start the engines of what is going to be built, so that several load at the same time.

        Raises:
            StartError: the artefact cannot be read, or there is no room to count in.
        """
        number = next(self._numbers)
        pinned = Pinned(artefact, self._folder / f"artefact-{number}")
        engines: dict[Post, int] = {}
        for place in range(len(self._settings.devices)):
            row = self._rows.take()
            seat = Seat(pinned.artefact, number, place, row)
            name = f"engine-{next(self._names)}"
            engines[Post(name, "service.cluster.engine_process", self._settings, (self._folder, seat))] = row
        hall = Hall(
            number,
            pinned,
            self._settings,
            self._folder,
            engines,
            self._rows,
            died=self._metrics.restarted,
            lost=self._lost,
        )
        self._begun[artefact] = hall
        self._every = [*self.living, hall]
        hall.open()

    async def build(self, artefact: Artefact) -> Hall:
        """Return a hall whose engines are warm; see `service.loader.Builder`."""
        if artefact not in self._begun:
            self.begin(artefact)
        hall = self._begun.pop(artefact)
        try:
            await hall.warm
        except BaseException:
            await hall.close()
            raise
        return hall

    def close(self) -> None:
        """See `service.loader.Builder`: halls have nothing in common."""
