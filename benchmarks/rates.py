"""Images per second out of bursts of completions; percentiles."""

from __future__ import annotations

import math
from collections.abc import Sequence


def rate(times_s: Sequence[float]) -> float:
    """Return completions per second: the slope of the least-squares line through their running count.

    Answers come in bursts of a batch. Counting those in a window is off by up to a batch at each end, a tenth of
    all in a few seconds of ResNet-50; the slope gives every completion its say, and bursts cancel out.

    Args:
        times_s: When each completed, in order.

    Returns:
        0.0 where there are too few to tell.
    """
    n = len(times_s)
    if n < 2:
        return 0.0
    mean_t = sum(times_s) / n
    mean_i = (n - 1) / 2
    covariance = sum((t - mean_t) * (i - mean_i) for i, t in enumerate(times_s))
    variance = sum((t - mean_t) ** 2 for t in times_s)
    return covariance / variance if variance > 0 else 0.0


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that `percent` per cent of all values do not exceed; NaN where there are none."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]
