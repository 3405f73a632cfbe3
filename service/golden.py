"""Golden images: does this machine compute what was exported?

The contract keeps a few images of coloured blocks and what the artefact answered to them when it was written. They are
asked again wherever it is loaded, on the execution provider in use there: a driver, a device or a runtime that
computes something else is found out before anybody is answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from service.contract import BLOCKS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from service.contract import Golden
    from service.engine import Engine


@dataclass(frozen=True)
class GoldenAnswer:
    """What one golden image was answered.

    Attributes:
        expected: The index of the class that must come first.
        expected_probability: Of that class.
        index: Of the class that did come first.
        probability: Of the class that must come first.
        right: Whether both are as they must be.
    """

    expected: int
    expected_probability: float
    index: int
    probability: float
    right: bool


@dataclass(frozen=True)
class GoldenResult:
    """What all golden images of an artefact were answered, and what is wrong with that, if anything."""

    answers: tuple[GoldenAnswer, ...]
    fault: str | None


def image_of(golden: Golden, side: int) -> NDArray[np.uint8]:
    """Return the pixels of a golden image, (side, side, 3)."""
    blocks = np.array(golden.blocks, np.uint8).reshape(BLOCKS, BLOCKS, 3)
    at = np.arange(side) * BLOCKS // side
    return blocks[at][:, at]


def examine(engine: Engine) -> GoldenResult:
    """Have an engine answer the golden images of its contract; there may be none."""
    contract = engine.contract
    if not contract.golden:
        return GoldenResult((), None)
    images = [image_of(golden, contract.preprocessing.crop) for golden in contract.golden]
    rows = engine.infer(images, wide=engine.can_widen)  # (n, classes)
    answers = tuple(_compare(golden, row) for golden, row in zip(contract.golden, rows, strict=True))
    wrong = next((answer for answer in answers if not answer.right), None)
    return GoldenResult(answers, None if wrong is None else _described(wrong, engine))


def _compare(golden: Golden, row: NDArray[np.float32]) -> GoldenAnswer:
    index, probability = int(row.argmax()), float(row[golden.top1])
    near = abs(probability - golden.probability) <= golden.tolerance  # so written, NaN is wrong
    return GoldenAnswer(golden.top1, golden.probability, index, probability, near and index == golden.top1)


def _described(wrong: GoldenAnswer, engine: Engine) -> str:
    labels = engine.contract.labels
    return (
        f"{engine.provider} does not compute what was exported: it gives a golden image of the class "
        f"{labels[wrong.expected].label!r} {wrong.probability:.4g} for that class instead of "
        f"{wrong.expected_probability:.4g}, and puts {labels[wrong.index].label!r} first"
    )
