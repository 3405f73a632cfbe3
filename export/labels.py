"""The classes' names: from a user's file, or from the network's number of classes.

| file | what is in it |
|---|---|
| text | one label a line |
| `.csv` | the columns `wnid,label` or `label`; or others too, named by a header, `index` among them or not |
| `.json` | a list of labels, of `[wnid, label]`, or of `{"wnid": …, "label": …}` |
| | `{"0": "label"}` or `{"0": ["wnid", "label"]}`, also within `{"id2label": …}`: Hugging Face's config.json |
| | `{"label": 0}`, the index as the value: `class_to_idx` of torchvision's ImageFolder |

A name of the form n01440764 on its own is taken for a WordNet id.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from export.errors import BadInput
from models.labels import imagenet_labels
from service.contract import Label

IMAGENET_CLASSES = 1000
_WNID = re.compile(r"n\d{8}")


def default_labels(num_classes: int) -> tuple[Label, ...]:
    """Return ImageNet's labels for 1000 classes, else "class 0", "class 1", …: a name for each, invented for none."""
    if num_classes == IMAGENET_CLASSES:
        return tuple(Label(wnid=wnid, label=label) for wnid, label in imagenet_labels())
    return tuple(Label(label=f"class {index}") for index in range(num_classes))


def read_labels(path: Path) -> tuple[Label, ...]:
    """Return a file's labels, in the order of the classes; the module's table says which files are understood.

    Raises:
        BadInput: it cannot be read, leaves a class out, or gives two classes the same name.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors on Windows begin a file with a byte order mark
        labels = _parse(path.suffix.lower(), text)
    except OSError as error:
        raise BadInput(f"--labels {path}: {error.strerror}") from error
    except (ValueError, csv.Error) as error:  # JSON's and Unicode's errors are ValueErrors
        raise BadInput(f"--labels {path}: {error}") from error
    if not labels:
        raise BadInput(f"--labels {path}: no labels in it")
    nameless = [index for index, label in enumerate(labels) if not label.label]
    if nameless:
        raise BadInput(f"--labels {path}: class {nameless[0]} has no label")
    twice = [label for label, count in Counter(labels).items() if count > 1]
    if twice:
        raise BadInput(f"--labels {path}: {twice[0].label!r} is there more than once")
    return labels


def _parse(suffix: str, text: str) -> tuple[Label, ...]:
    if suffix == ".json":
        return tuple(_label(entry) for entry in _in_order(json.loads(text)))
    if suffix == ".csv":
        return tuple(_csv_labels(text))
    lines = text.rstrip().splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():  # skipping it would shift every class after it
            raise ValueError(f"line {number} is empty")
    return tuple(_label(line) for line in lines)


def _in_order(document: Any) -> list[Any]:
    if isinstance(document, list):
        return document
    if not isinstance(document, dict):
        raise ValueError("neither a list nor an object")
    document = document.get("id2label", document)
    if document and all(isinstance(value, int) for value in document.values()):
        document = {index: label for label, index in document.items()}
    try:
        by_index = {int(index): entry for index, entry in document.items()}
    except ValueError:
        raise ValueError("an object, but neither its keys nor its values are class indices") from None
    if sorted(by_index) != list(range(len(by_index))):
        raise ValueError(f"the indices are not 0 to {len(by_index) - 1}, each once")
    return [by_index[index] for index in range(len(by_index))]


def _label(entry: Any) -> Label:
    match entry:
        case str():
            name = entry.strip()
            return Label(wnid=name if _WNID.fullmatch(name) else None, label=name)
        case [str(wnid), str(label)]:
            return Label(wnid=wnid.strip() or None, label=label.strip())
        case {"label": str(label), "wnid": str() | None as wnid}:
            return Label(wnid=wnid or None, label=label.strip())
        case {"label": str(label)}:
            return _label(label)
    raise ValueError(f"{json.dumps(entry)} is no label: expected a name, [wnid, name] or {{wnid, label}}")


def _csv_labels(text: str) -> list[Label]:
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines(), strict=True) if row]
    columns = [cell.lower() for cell in rows[0]] if rows else []
    if "label" in columns:
        rows = rows[1:]
    else:
        columns = ["label"] if len(columns) == 1 else ["wnid", "label"]
    if any(len(row) != len(columns) for row in rows):
        raise ValueError("expected the columns wnid,label or label alone, or a header that names the columns")
    entries: list[Any] = [dict(zip(columns, row, strict=True)) for row in rows]
    if "index" in columns:
        entries = _in_order({entry["index"]: entry for entry in entries})
    return [_label(entry) for entry in entries]
