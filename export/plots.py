"""An evaluation, drawn. Needs Matplotlib, an optional extra."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from export.errors import BadInput
from export.scores import BINS, Confusion, Scores
from models.plot import require_matplotlib
from service.contract import Label


def can_plot() -> bool:
    """Say whether Matplotlib is installed."""
    try:
        require_matplotlib()
    except ImportError:
        return False
    return True


def plot_scores(scores: Scores, labels: Sequence[Label], title: str, path: Path) -> None:
    """Draw how well probabilities are calibrated (left) and the classes recognised worst, with what they are taken for.

    Args:
        scores: Of an evaluation.
        labels: Of the classes.
        title: Above the figure.
        path: The image to write; its suffix says the format.

    Raises:
        BadInput: Matplotlib is not installed.
    """
    try:
        figure = require_matplotlib().Figure(figsize=(12, 5), layout="constrained")
    except ImportError as error:
        raise BadInput(str(error)) from error
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color="grey", linestyle="--", label="perfectly calibrated")
    left.bar(
        [bin_.lower for bin_ in scores.bins],
        [bin_.accuracy for bin_ in scores.bins],
        width=1 / BINS,
        align="edge",
        edgecolor="white",
    )
    left.set(xlim=(0, 1), ylim=(0, 1), xlabel="probability of the first class", ylabel="part that is right")
    left.set_title(f"expected calibration error {scores.calibration_error:.3f}")
    left.legend(loc="upper left")
    worst = scores.worst[::-1]
    bars = right.barh([labels[each.class_index].label for each in worst], [each.right / each.images for each in worst])
    right.bar_label(bars, [_taken_for(each, labels) for each in worst], padding=4)
    right.set(xlim=(0, 1), xlabel="part that is right")
    right.set_title("classes recognised worst")
    figure.suptitle(title)
    figure.savefig(path)


def _taken_for(worst: Confusion, labels: Sequence[Label]) -> str:
    return f"{worst.right} of {worst.images}; " + ", ".join(labels[index].label for index, _ in worst.taken_for)
