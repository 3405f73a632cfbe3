"""What an image was answered, as types. Members that a newer service adds are passed over."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from service.client.images import Source
    from service.errors import ServiceError

_UNTRAINED = "untrained"  # service.contract has it too, with all that a contract needs
_DURATION = re.compile(r"(\w+);dur=([\d.]+)")  # Server-Timing (W3C)


@dataclass(frozen=True, slots=True)
class Prediction:
    """One class.

    Attributes:
        index: Position in the model's output.
        wnid: WordNet id, where the class has one.
        label: Its name.
        probability: From 0 to 1.
    """

    index: int
    wnid: str | None
    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Which model answered."""

    name: str
    version: str
    precision: str
    weights: str

    @property
    def trained(self) -> bool:
        """Whether anything was ever learned; where not, predictions mean nothing."""
        return self.weights != _UNTRAINED


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the time went, in milliseconds."""

    decode_ms: float
    queue_ms: float
    inference_ms: float

    @classmethod
    def from_header(cls, header: str) -> Timing | None:
        """Read a `Server-Timing` header; None where it says something else."""
        durations = {name: float(ms) for name, ms in _DURATION.findall(header)}
        try:
            return cls(durations["decode"], durations["queue"], durations["inference"])
        except KeyError:
            return None


@dataclass(frozen=True, slots=True)
class Classification:
    """The most probable classes of one image, most probable first."""

    model: ModelInfo
    predictions: tuple[Prediction, ...]
    timing: Timing | None = None

    @property
    def top(self) -> Prediction:
        """The most probable class."""
        return self.predictions[0]

    @classmethod
    def from_document(cls, document: Any, timing: Timing | None = None) -> Classification:
        """Make one of what `/classify` answers.

        Raises:
            KeyError, TypeError, IndexError: it is something else.
        """
        predictions = tuple(_chosen(Prediction, each) for each in document["predictions"])
        return cls(_chosen(ModelInfo, document["model"]), predictions, timing)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one image of many: its classification, or what was in the way of that.

    Attributes:
        image: As the caller gave it.
        result: None where it failed.
        error: Why; an OSError where the file could not be read.
    """

    image: Source
    result: Classification | None = None
    error: ServiceError | OSError | None = None

    def unwrap(self) -> Classification:
        """Return the classification.

        Raises:
            ServiceError, OSError: there is none.
        """
        if self.result is None:
            raise self.error or ValueError("neither a result nor an error")
        return self.result


def _chosen(kind: type[Any], members: dict[str, Any]) -> Any:
    return kind(**{name: members[name] for name in kind.__slots__})
