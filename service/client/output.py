"""What became of images, written for people, for programs or for spreadsheets: as each is known."""

from __future__ import annotations

import csv
import json
import sys
from typing import TYPE_CHECKING, Protocol, TextIO

from service.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.client.answers import Outcome

_COLUMNS = ("image", "rank", "index", "wnid", "label", "probability", "error")
_BAR = 20  # characters of a probability of 1


class Output(Protocol):
    """Writes outcomes."""

    def write(self, name: str, outcome: Outcome) -> None:
        """Write what became of the image called `name`."""


class Table:
    """For people: an image's name, under it its classes, each with its probability and a bar of that length."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, name: str, outcome: Outcome) -> None:
        """Write a block of lines."""
        print(name, file=self._file)
        if outcome.result is None:
            print(f"   {told(outcome.error)}", file=self._file)
            return
        for prediction in outcome.result.predictions:
            length = "▇" * round(prediction.probability * _BAR)
            print(f"  {prediction.probability:7.2%}  {length:<{_BAR}}  {prediction.label}", file=self._file)


class JsonLines:
    """For programs: a document on each line, as `/classify` answers, with the image's name."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, name: str, outcome: Outcome) -> None:
        """Write a line."""
        document: dict[str, object] = {"image": name}
        if (result := outcome.result) is not None:
            model, predictions = result.model, result.predictions
            document["model"] = {member: getattr(model, member) for member in model.__slots__}
            document["predictions"] = [{m: getattr(each, m) for m in each.__slots__} for each in predictions]
        else:
            document["problem"] = _problem(outcome.error)
        print(json.dumps(document, ensure_ascii=False), file=self._file)


class Csv:
    """For spreadsheets: a row for each class of each image, or one with its error."""

    def __init__(self, file: TextIO) -> None:
        self._rows = csv.writer(file, lineterminator="\n")
        self._rows.writerow(_COLUMNS)

    def write(self, name: str, outcome: Outcome) -> None:
        """Write its rows."""
        if outcome.result is None:
            self._rows.writerow([name, "", "", "", "", "", told(outcome.error)])
            return
        for rank, each in enumerate(outcome.result.predictions, start=1):
            self._rows.writerow([name, rank, each.index, each.wnid or "", each.label, each.probability, ""])


FORMATS: dict[str, Callable[[TextIO], Output]] = {"table": Table, "json": JsonLines, "csv": Csv}


def told(error: Exception | None) -> str:
    """Return an error in a line."""
    if isinstance(error, ServiceError):
        return f"{error.title}: {error.detail}"
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def complain(text: str) -> None:
    """Tell a person at the terminal."""
    print(f"resnet-classify: {text}", file=sys.stderr)


def _problem(error: Exception | None) -> dict[str, object]:
    if not isinstance(error, ServiceError):
        return {"title": "Unreadable file", "detail": told(error)}
    members = {"title": error.title, "status": error.status, "detail": error.detail, "request_id": error.request_id}
    return {name: value for name, value in members.items() if value is not None}
