"""A user's photos, labelled or not: found in a folder, and decoded as the service decodes them.

| what is given | classes |
|---|---|
| a folder of folders, as torchvision's ImageFolder has it | each folder's name: a WordNet id, an index or a label |
| a `.csv` file, or a folder with `labels.csv` in it | columns `file` and `class_index`, `index`, `wnid` or `label` |
| a folder of photos, or of folders of other names | unknown |

A label may be written as in a file's name: `golden_retriever` is "golden retriever".
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from export.errors import BadInput
from export.images import Pixels
from models.photos import find_photos
from service.contract import Label, Preprocessing
from service.errors import ServiceError
from service.image import Decoder

TABLE = "labels.csv"
_CLASS_COLUMNS = ("class_index", "index", "wnid", "label")


class Photo(NamedTuple):
    """A file, its name within what was given, and the index of its class where that is known."""

    path: Path
    name: str
    class_index: int | None


@dataclass(frozen=True)
class Decoded:
    """Photos that could be decoded, and their pixels (n, crop, crop, 3)."""

    photos: list[Photo]
    pixels: Pixels


def read_photos(given: Path, labels: Sequence[Label]) -> list[Photo]:
    """Return the photos of a folder or table, in an order that is always the same; the module's table says which.

    Args:
        given: The folder, or a `.csv` file.
        labels: Of the network, in the order of its outputs.

    Raises:
        BadInput: there are none, or some are of a class and others of none.
    """
    try:
        if given.suffix.lower() == ".csv" or (given / TABLE).is_file():
            return _from_table(given if given.is_file() else given / TABLE, _Names(labels))
        return _from_folders(given, find_photos(given), _Names(labels))
    except (OSError, ValueError, csv.Error) as error:
        raise BadInput(f"{given}: {error}") from error


def insist_on_labels(given: Path, photos: Sequence[Photo]) -> None:
    """Refuse photos of unknown classes.

    Raises:
        BadInput: they are; the message says how to say what they show.
    """
    if any(photo.class_index is None for photo in photos):
        raise BadInput(
            f"{given}: the classes are not known. Put each class's photos into a folder called by its WordNet id, "
            f"index or label, or name file and class in {TABLE}"
        )


def decode(
    photos: Sequence[Photo], preprocessing: Preprocessing, together: int, bad: Callable[[Photo, str], None]
) -> Iterator[Decoded]:
    """Yield photos decoded, so many together; memory stays the same however many there are.

    Args:
        photos: What to decode.
        preprocessing: How to resize and crop.
        together: How many to a batch.
        bad: Told of each that cannot be decoded, and why; it is left out.
    """
    decoder = Decoder(preprocessing)
    for start in range(0, len(photos), together):
        good, images = [], []
        for photo in photos[start : start + together]:
            try:
                images.append(decoder.decode(photo.path.read_bytes()))
                good.append(photo)
            except (ServiceError, OSError) as error:
                bad(photo, error.strerror or str(error) if isinstance(error, OSError) else str(error))
        crop = preprocessing.crop
        yield Decoded(good, np.stack(images) if images else np.empty((0, crop, crop, 3), np.uint8))


class _Names:
    """Finds the index of a class by any of its names."""

    def __init__(self, labels: Sequence[Label]) -> None:
        self._indices = {str(index): index for index in range(len(labels))}
        self._ambiguous: set[str] = set()
        for index, label in enumerate(labels):
            name = _plain(label.label)
            if self._indices.setdefault(name, index) != index and name not in map(str, range(len(labels))):
                self._ambiguous.add(name)  # ImageNet has two kinds of crane
        self._indices |= {label.wnid: index for index, label in enumerate(labels) if label.wnid}

    def find(self, name: str) -> int | None:
        """Return the index of the class of this name, if there is one.

        Raises:
            ValueError: there are several.
        """
        if _plain(name) in self._ambiguous:
            raise ValueError(f"several classes are called {name!r}: use WordNet ids or indices")
        return self._indices.get(name, self._indices.get(_plain(name)))


def _plain(name: str) -> str:
    return name.replace("_", " ").casefold().strip()


def _from_folders(root: Path, paths: list[Path], names: _Names) -> list[Photo]:
    known: dict[Path, int | None] = {folder: names.find(folder.name) for folder in {path.parent for path in paths}}
    strange = sorted(folder for folder, index in known.items() if index is None)
    if len(strange) == len(known):
        return [Photo(path, _name(path, root), None) for path in paths]
    if strange:
        raise ValueError(f"{_name(strange[0], root)} is no class, and other folders are")
    return [Photo(path, _name(path, root), known[path.parent]) for path in paths]


def _from_table(table: Path, names: _Names) -> list[Photo]:
    with table.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        column = next((name for name in _CLASS_COLUMNS if name in columns), None)
        if column is None or "file" not in columns:
            raise ValueError(f"{table.name} needs the columns file and one of {', '.join(_CLASS_COLUMNS)}")
        rows = [(row["file"], row[column]) for row in reader]
    photos = [Photo(table.parent / name, name, names.find(value)) for name, value in rows]
    for photo, (_, value) in zip(photos, rows, strict=True):
        if photo.class_index is None:
            raise ValueError(f"{photo.name} is of class {value!r}, which there is none of")
    if not photos:
        raise ValueError(f"{table.name} names no photos")
    return photos


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path != root else path.name
