"""The 1000 ImageNet classes in the order of a network's outputs."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import NamedTuple


class ImageNetClass(NamedTuple):
    """One class: its WordNet id ("n02012849") and a readable label ("crane (bird)")."""

    wnid: str
    label: str


@cache
def imagenet_labels() -> tuple[ImageNetClass, ...]:
    """Return the 1000 classes of ILSVRC 2012; the position is the class index.

    Labels are WordNet's first word for the class, or another of its words where the first is dated or means
    something more common ("ice bear", "plane"), or the word with a note where there is no other. All differ.
    """
    entries = json.loads(files("models").joinpath("imagenet.json").read_text(encoding="utf-8"))
    return tuple(ImageNetClass(entry["wnid"], entry["label"]) for entry in entries)
