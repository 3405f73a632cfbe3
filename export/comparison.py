"""Two artefacts on the same photos: how often they agree, which is right more often, and which is faster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import tee
from typing import NamedTuple

from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]

from export.errors import BadInput
from export.evaluate import BATCH_SIZE, Evaluated, answer
from export.photos import Photo, decode
from service.engine import Engine


class Comparison(NamedTuple):
    """Two artefacts' answers, and how the two stand to each other.

    Attributes:
        a: What came of the photos with the first.
        b: With the second.
        agreeing: Photos to which both gave the same first class.
        only_a: Photos that only the first has right.
        only_b: Photos that only the second has right.
        both: Photos that both have right.
    """

    a: Evaluated
    b: Evaluated
    agreeing: int
    only_a: int
    only_b: int
    both: int


def compare(
    engines: tuple[Engine, Engine],
    photos: Sequence[Photo],
    *,
    warn: Callable[[str], None],
    progress: bool = False,
) -> Comparison:
    """Have two engines answer photos, batch by batch in turns, so that whatever slows one slows the other.

    Args:
        engines: Of artefacts with the same classes.
        photos: With their classes.
        warn: Told of files that cannot be decoded.
        progress: Whether to draw a progress bar on standard error.

    Raises:
        BadInput: their classes are not the same, or none of the photos can be decoded.
    """
    a, b = engines
    if a.contract.labels_sha256 != b.contract.labels_sha256:
        raise BadInput("the two have other classes, or the same in another order: there is nothing to compare")
    found = Evaluated(), Evaluated()
    bad: dict[str, str] = {}

    def note(photo: Photo, why: str) -> None:
        if photo.name not in bad:
            bad[photo.name] = why
            warn(f"{photo.path} is left out: {why}")

    first = decode(photos, a.contract.preprocessing, BATCH_SIZE, note)
    if a.contract.preprocessing == b.contract.preprocessing:
        first, second = tee(first)
    else:
        second = decode(photos, b.contract.preprocessing, BATCH_SIZE, note)
    with tqdm(total=len(photos), desc="comparing", unit="image", disable=not progress, leave=False) as bar:
        for batches in zip(first, second, strict=True):
            for engine, batch, evaluated in zip(engines, batches, found, strict=True):
                for line in answer(engine, batch):
                    evaluated.take(line)
            bar.update(min(BATCH_SIZE, bar.total - bar.n))
    if not found[0].answers:
        raise BadInput("none of the photos can be decoded")
    return _compared(*found, bad)


def _compared(a: Evaluated, b: Evaluated, bad: dict[str, str]) -> Comparison:
    pairs = list(zip(a.answers, b.answers, strict=True))
    right = [(x.leading[0] == x.class_index, y.leading[0] == y.class_index) for x, y in pairs]
    a.bad.update(bad)
    b.bad.update(bad)
    return Comparison(
        a,
        b,
        agreeing=sum(x.leading[0] == y.leading[0] for x, y in pairs),
        only_a=right.count((True, False)),
        only_b=right.count((False, True)),
        both=right.count((True, True)),
    )
