"""What an engine's process is started for."""

from __future__ import annotations

from dataclasses import dataclass

from service.repository import Artefact


@dataclass(frozen=True)
class Seat:
    """One engine's place.

    Attributes:
        artefact: What it serves.
        model: The number of the model that this is.
        place: Which of the devices it has.
        row: Of the ledger, in which it counts.
    """

    artefact: Artefact
    model: int
    place: int
    row: int
