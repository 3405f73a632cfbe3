"""The figure: load, replicas and p99 over the day."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure  # not pyplot: no window, no global state
from numpy.typing import NDArray

from benchmarks.autoscaling.play import TICK_S, Played


def draw(load: NDArray[np.float64], days: Mapping[str, Played], title: str, path: Path) -> None:
    """Write the figure of a load and what came of it under each autoscaler."""
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True)
    figure.suptitle(title)
    top.plot(np.arange(len(load)) / 3600, load, color="grey")
    top.set(ylabel="offered, images/s", ylim=(0, None))
    for name, played in days.items():
        hours = np.arange(len(played.replicas)) * TICK_S / 3600
        middle.step(hours, played.replicas, where="post", label=name)
        bottom.plot(hours, played.p99_s, linewidth=0.8, label=name)
    middle.set(ylabel="replicas", ylim=(0, None))
    middle.legend()
    bottom.set(ylabel="p99 of 15 s, seconds", yscale="log", xlabel="hour of the day")
    figure.savefig(path, dpi=90)
