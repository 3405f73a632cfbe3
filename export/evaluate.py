"""Have an artefact answer labelled photos, by the engine that serves it; what was answered before is not asked again.

The journal is a file of JSON lines, which an interrupted run goes on from and a finished one leaves as its record:

    {"artefact": "<sha256>", "photos": "<sha256 of names and classes>"}      of which artefact and photos it is
    {"name": "a.jpg", "class_index": 3, "leading": [3, 1, 7, 2, 9], "probability": 0.91, "seconds": 0.012}
    {"name": "b.jpg", "bad": "not an image of an allowed format"}

A line is written once its batch is answered, and a line that was cut off counts as not written.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]

from export.errors import BadInput, NotWritten
from export.photos import Decoded, Photo, decode
from export.scores import LEADING, Answered
from models.hashing import sha256
from service.engine import Engine

BATCH_SIZE = 8


@dataclass
class Evaluated:
    """What came of the photos.

    Attributes:
        answers: In the order of the photos.
        bad: Files that could not be decoded, by name, and why.
        seconds: That the engine computed, decoding not counted.
        resumed: Photos that an earlier run had done already.
    """

    answers: list[Answered] = field(default_factory=list)
    bad: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    resumed: int = 0

    @property
    def images_per_s(self) -> float:
        """Images a second, of the engine alone, in batches of `BATCH_SIZE` on all cores."""
        return len(self.answers) / self.seconds if self.seconds else 0.0

    def take(self, line: dict[str, Any]) -> None:
        """Take in a line of the journal."""
        if "bad" in line:
            self.bad[line["name"]] = line["bad"]
            return
        leading = tuple(line["leading"])
        self.answers.append(Answered(line["name"], line["class_index"], leading, line["probability"]))
        self.seconds += line["seconds"]


def evaluate(
    engine: Engine, artefact: Path, photos: Sequence[Photo], journal: Path, *, progress: bool = False
) -> Evaluated:
    """Return what an engine answers to photos, going on from the journal of an earlier run.

    Args:
        engine: Of the artefact.
        artefact: Its file.
        photos: With their classes.
        journal: Where it is, or will be; one of another artefact or of other photos is begun anew.
        progress: Whether to draw a progress bar on standard error.

    Raises:
        BadInput: none of the photos can be decoded.
        NotWritten: the journal cannot be written.
    """
    header = {"artefact": sha256(artefact), "photos": _fingerprint(photos)}
    lines = list(_lines(journal, header))
    found = Evaluated(resumed=len(lines))
    for line in lines:
        found.take(line)
    done = {line["name"] for line in lines}
    rest = [photo for photo in photos if photo.name not in done]
    try:
        with _opened(journal, [header, *lines]) as file:
            _ask(engine, rest, found, file, _bar(artefact, len(photos), len(done), progress))
    except OSError as error:
        raise NotWritten(f"{journal}: {error.strerror}") from error
    if not found.answers:
        raise BadInput("none of the photos can be decoded")
    return found


def _ask(engine: Engine, photos: Sequence[Photo], found: Evaluated, journal: IO[str], bar: Any) -> None:
    def write(line: dict[str, Any]) -> None:
        found.take(line)
        journal.write(json.dumps(line) + "\n")

    def bad(photo: Photo, why: str) -> None:
        write({"name": photo.name, "bad": why})

    with bar:
        for batch in decode(photos, engine.contract.preprocessing, BATCH_SIZE, bad):
            for line in answer(engine, batch):
                write(line)
            journal.flush()
            bar.update(min(BATCH_SIZE, bar.total - bar.n))


def answer(engine: Engine, batch: Decoded) -> Iterator[dict[str, Any]]:
    """Yield a line of the journal for each photo of a batch."""
    if not batch.photos:
        return
    started = time.perf_counter()
    rows = engine.infer(list(batch.pixels), wide=engine.can_widen)  # (n, classes)
    seconds = (time.perf_counter() - started) / len(rows)
    leading = np.argsort(-rows, axis=1, kind="stable")[:, :LEADING]
    for photo, row, classes in zip(batch.photos, rows, leading.tolist(), strict=True):
        yield {
            "name": photo.name,
            "class_index": photo.class_index,
            "leading": classes,
            "probability": float(row[classes[0]]),
            "seconds": seconds,
        }


def _bar(artefact: Path, total: int, done: int, progress: bool) -> Any:
    name = artefact.parent.parent.name
    return tqdm(total=total, initial=done, desc=name, unit="image", disable=not progress, leave=False)


def _lines(journal: Path, header: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Yield what an earlier run of the same artefact and photos wrote whole."""
    if not journal.is_file():
        return
    lines = journal.read_text(encoding="utf-8").split("\n")[:-1]  # what follows the last newline was cut off
    if not lines or lines[0] != json.dumps(header):
        return
    for line in lines[1:]:
        yield json.loads(line)


def _opened(journal: Path, lines: Sequence[dict[str, Any]]) -> IO[str]:
    """Return the journal, written anew with these lines, open for more."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    anew = journal.with_name(f"{journal.name}.new")
    anew.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    anew.replace(journal)
    return journal.open("a", encoding="utf-8")


def _fingerprint(photos: Sequence[Photo]) -> str:
    rows = [[photo.name, photo.class_index] for photo in photos]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
