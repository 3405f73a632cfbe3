"""A day's load: a night, a day, and moments in which everybody comes at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DAY_S = 86_400
_QUIETEST_S = 4 * 3600  # four in the morning
_NIGHT = 0.12  # of the peak


@dataclass(frozen=True)
class Spike:
    """More load all of a sudden.

    Attributes:
        start_s: Seconds after midnight.
        length_s: How long it lasts.
        factor: How many times what it would be.
    """

    start_s: int
    length_s: int
    factor: float


SPIKES = (Spike(10 * 3600, 600, 2.0), Spike(15 * 3600 + 1800, 180, 3.0), Spike(20 * 3600 + 900, 900, 1.5))


def rates(peak_per_s: float, spikes: tuple[Spike, ...] = SPIKES, length_s: int = DAY_S) -> NDArray[np.float64]:
    """Return images per second, for each second of the day: (length_s,).

    Args:
        peak_per_s: In the afternoon, without spikes.
        spikes: On top of that.
        length_s: Seconds from midnight on.
    """
    seconds = np.arange(length_s)
    swing = (1 - np.cos(2 * np.pi * (seconds - _QUIETEST_S) / DAY_S)) / 2  # 0 at four, 1 at four
    load = peak_per_s * (_NIGHT + (1 - _NIGHT) * swing)
    for spike in spikes:
        load[spike.start_s : spike.start_s + spike.length_s] *= spike.factor
    return load


def arrivals(rate_per_s: NDArray[np.float64], start_s: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Return when images arrive, in order, while the rate is `rate_per_s`, second by second from `start_s` on."""
    counts = random.poisson(rate_per_s)
    seconds = np.repeat(np.arange(len(counts)), counts)
    return np.sort(start_s + seconds + random.random(len(seconds)))
