"""Answers and true classes -> how good a classifier is, and how well it knows.

The calibration error is the expected calibration error of Guo et al. 2017, *On Calibration of Modern Neural Networks*,
Sec. 2, Eq. 3: images go by the probability of their first class into `BINS` bins of equal width, and it is the mean,
weighted by images, of how far each bin's accuracy is from its mean probability.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BINS = 15  # as in the paper's Table 1
LEADING = 5  # classes kept of each answer


class Answered(NamedTuple):
    """One photo, answered.

    Attributes:
        name: Of the photo.
        class_index: Its class.
        leading: The `LEADING` most probable classes, first to last.
        probability: Of the first.
    """

    name: str
    class_index: int
    leading: tuple[int, ...]
    probability: float


class Bin(NamedTuple):
    """Images whose first class has a probability above `lower` and up to `upper`."""

    lower: float
    upper: float
    images: int
    accuracy: float
    probability: float


class Confusion(NamedTuple):
    """A class that is recognised badly, and what it is taken for most often."""

    class_index: int
    images: int
    right: int
    taken_for: tuple[tuple[int, int], ...]  # index of a class, times


class Scores(NamedTuple):
    """How good a classifier is on some photos."""

    images: int
    top1: float
    top5: float
    calibration_error: float
    bins: tuple[Bin, ...]
    worst: tuple[Confusion, ...]


def score(answers: Sequence[Answered], *, worst: int = 10) -> Scores:
    """Return the scores of answers; there must be one at least.

    Args:
        answers: Of all photos.
        worst: How many of the worst recognised classes to tell of.
    """
    classes = np.array([answer.class_index for answer in answers])
    leading = np.array([answer.leading for answer in answers])  # (n, LEADING)
    hits = leading == classes[:, None]
    bins = _bins(np.array([answer.probability for answer in answers]), hits[:, 0])
    gaps = [each.images * abs(each.accuracy - each.probability) for each in bins]
    return Scores(
        images=len(answers),
        top1=float(hits[:, 0].mean()),
        top5=float(hits.any(axis=1).mean()),
        calibration_error=sum(gaps) / len(answers),
        bins=bins,
        worst=_worst(classes, leading[:, 0], worst),
    )


def _bins(probabilities: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[Bin, ...]:
    number = np.clip(np.ceil(probabilities * BINS).astype(int) - 1, 0, BINS - 1)  # (lower, upper]
    found = []
    for index in range(BINS):
        inside = number == index
        if inside.any():
            means = float(right[inside].mean()), float(probabilities[inside].mean())
            found.append(Bin(index / BINS, (index + 1) / BINS, int(inside.sum()), *means))
    return tuple(found)


def _worst(classes: NDArray[np.int64], first: NDArray[np.int64], count: int) -> tuple[Confusion, ...]:
    """Return the classes with the smallest part right, of equal ones those with more images."""
    found = []
    for index in np.unique(classes):
        answers = first[classes == index]
        wrong = Counter(answers[answers != index].tolist())
        if wrong:
            right = int(np.sum(answers == index))
            found.append(Confusion(int(index), len(answers), right, tuple(wrong.most_common(3))))
    found.sort(key=lambda each: (each.right / each.images, -each.images, each.class_index))
    return tuple(found[:count])
