"""When those who were refused should come again: one after the other, as fast as they can be answered."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_LONGEST_S = 30.0  # further ahead nothing is known, and some will not come


class Appointments:
    """Gives every refused caller a time of its own.

    Were all of them told the same, they would come back together, and most be refused again. So the time that each
    one's work will take is taken into account for the next one's.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._taken_until_s = 0.0

    def wait_s(self, room_s: float, work_s: float) -> float:
        """Return in how many seconds a caller should come again; at least one, which is all that HTTP can tell.

        Args:
            room_s: Seconds until there is room again.
            work_s: Seconds that its images will take.
        """
        now_s = self._clock()
        start_s = min(max(self._taken_until_s, now_s + room_s), now_s + _LONGEST_S)
        self._taken_until_s = start_s + work_s
        return max(1.0, start_s - now_s)
