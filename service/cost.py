"""What a batch costs: seconds per run by batch size, learned at warm-up and kept current.

Everything that needs to foresee rests on these numbers: how large a batch is worth its wait, whether a
deadline can be met, what `Retry-After` to give.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# A run that took longer than expected says two things: the machine is busier now, which holds for every size,
# and this size was misjudged, which holds for it alone. Weights of the newest measurement for each.
_MACHINE = 0.08
_SIZE = 0.01
# One outlier (a page fault storm, a suspended machine) counts for no more than this many times its estimate.
_LARGEST_SURPRISE = 8.0
# What a run costs beside itself: it is handed over and back, and finds the caches full of what was decoded meanwhile.
# Measured as the CPU time under load that shrinks with the size of batches (docs/performance.md).
_RUN_S = 0.001
# A larger batch makes its first image wait for its last: a smaller one that costs nearly as little is better.
_NEARLY = 1.01


class CostModel:
    """Seconds per run for each batch size.

    Args:
        seconds: Measured cost of one run by batch size; at least one entry, all above zero.
    """

    def __init__(self, seconds: Mapping[int, float]) -> None:
        if not seconds or min(seconds.values()) <= 0:
            raise ValueError("a cost model needs at least one batch size, each with a cost above zero")
        self._sizes = sorted(seconds)
        self._at_warm_up = [seconds[size] for size in self._sizes]
        self._seconds = self._at_warm_up
        self._choose()

    def observe(self, size: int, seconds: float) -> None:
        """Take a measured run of `size` images into account."""
        surprise = min(seconds / self.of(size), _LARGEST_SURPRISE) - 1.0
        self._seconds = [known * (1.0 + _MACHINE * surprise) for known in self._seconds]
        at = bisect_left(self._sizes, size)
        if at < len(self._sizes) and self._sizes[at] == size:
            self._seconds[at] *= 1.0 + _SIZE * surprise
        self._choose()

    def doubt(self) -> None:
        """Move estimates that have grown back towards what was measured at warm-up.

        For when they turned work away from an idle engine: an estimate that nothing tests would stand for ever.
        """
        pairs = zip(self._seconds, self._at_warm_up, strict=True)
        self._seconds = [known - _MACHINE * max(0.0, known - first) for known, first in pairs]
        self._choose()

    def of(self, size: int) -> float:
        """Return the expected seconds of one run of `size` images; between measured sizes, in proportion."""
        at = bisect_left(self._sizes, size)
        if at == len(self._sizes):
            return self._seconds[-1] * size / self._sizes[-1]
        if at == 0 or self._sizes[at] == size:
            return self._seconds[at]
        share = (size - self._sizes[at - 1]) / (self._sizes[at] - self._sizes[at - 1])
        return self._seconds[at - 1] + share * (self._seconds[at] - self._seconds[at - 1])

    @property
    def best_size(self) -> int:
        """The batch size with the lowest cost per image, hand-over included; of nearly equal ones the smallest."""
        return self._best_size

    @property
    def per_image(self) -> float:
        """Seconds per image at the best batch size."""
        return self._per_image

    def _choose(self) -> None:
        in_all = [(seconds + _RUN_S) / size for size, seconds in zip(self._sizes, self._seconds, strict=True)]
        enough = min(in_all) * _NEARLY
        at = next(at for at, cost in enumerate(in_all) if cost <= enough)
        self._best_size = self._sizes[at]
        self._per_image = self._seconds[at] / self._sizes[at]
