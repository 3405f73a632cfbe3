"""Figure 7 of He et al. 2015, drawn from one's own network. Needs Matplotlib, an optional extra."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

from models.responses import LayerResponse, ranked


def require_matplotlib() -> ModuleType:
    """Return `matplotlib.figure`.

    Raises:
        ImportError: Matplotlib is not installed; the message says how it is.
    """
    try:
        return import_module("matplotlib.figure")
    except ImportError as error:
        raise ImportError("drawing needs Matplotlib: pip install matplotlib") from error


def plot_responses(measured: Sequence[LayerResponse], title: str, path: Path) -> None:
    """Draw the layers' standard deviations in order (top) and sorted (bottom), as Fig. 7 does.

    Args:
        measured: From `responses.responses`; projections are left out, as in the paper.
        title: Above the figure.
        path: The image to write; its suffix says the format (.png, .svg, .pdf).

    Raises:
        ImportError: Matplotlib is not installed.
        ValueError: Matplotlib does not know the format.
    """
    # Without pyplot: no display is looked for, and no global state is left behind.
    figure = require_matplotlib().Figure(figsize=(8, 6), layout="constrained")
    top, bottom = figure.subplots(2, sharey=True)
    layers = [response for response in measured if not response.projection]
    for axes, row, label in (
        (top, layers, "layer, in order"),
        (bottom, ranked(measured), "layer, sorted by magnitude"),
    ):
        axes.plot(range(1, len(row) + 1), [response.std for response in row], marker=".")
        axes.set_xlabel(label)
        axes.set_ylabel("std of responses")
        axes.grid(visible=True, alpha=0.3)
        axes.set_ylim(bottom=0)
    figure.suptitle(title)
    figure.savefig(path)
