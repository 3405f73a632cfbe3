"""One replica: a bounded line in front of as many runs at a time as it has cores, in batches (service/batcher.py)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from service.cost import CostModel


class Replica:
    """Answers images in the order of their arrival.

    Args:
        seconds: How long a batch keeps a core, by its size.
        cores: Runs at a time.
        capacity: Images that may wait.
        deadline_s: After which nobody waits any more.
        ready_s: From when on it is there.

    Attributes:
        latencies_s: Of the images answered since they were last taken out, each from arrival to answer.
        waits_s: How long those had waited for a core.
        refused: Images turned away so far.
        expired: Images whose deadline passed in line so far.
        busy_s: Core seconds of all runs begun so far.
    """

    def __init__(
        self, seconds: Mapping[int, float], cores: int, capacity: int, deadline_s: float, ready_s: float
    ) -> None:
        costs = CostModel(seconds)
        self._cost_s = [0.0, *(costs.of(size) for size in range(1, max(seconds) + 1))]
        self._best = costs.best_size
        self._capacity = capacity
        self._deadline_s = deadline_s
        self._line: deque[float] = deque()
        self._free_s = [ready_s] * cores  # when each core has nothing to do any more
        self._sizes = [0] * cores  # of the run that it does until then
        self.ready_s = ready_s
        self.latencies_s: list[float] = []
        self.waits_s: list[float] = []
        self.refused = self.expired = 0
        self.busy_s = 0.0

    def take(self, arrivals_s: Iterable[float], until_s: float) -> None:
        """Let images arrive, in order, and time pass until `until_s`."""
        line, capacity = self._line, self._capacity
        for at_s in arrivals_s:
            self._run(at_s)
            if len(line) < capacity:
                line.append(at_s)
            else:
                self.refused += 1
        self._run(until_s)

    def in_flight(self, now_s: float) -> int:
        """Return how many images wait or are in a run."""
        running = sum(size for size, free_s in zip(self._sizes, self._free_s, strict=True) if free_s > now_s)
        return len(self._line) + running

    def _run(self, until_s: float) -> None:
        """Begin every run that can begin by `until_s`."""
        line, free = self._line, self._free_s
        while line:
            core = free.index(min(free))
            begun_s = max(free[core], line[0])
            if begun_s > until_s:
                return
            if begun_s - line[0] > self._deadline_s:
                line.popleft()
                self.expired += 1
                continue
            idle = sum(at_s <= begun_s for at_s in free)
            size = min(self._best, -(-len(line) // idle))
            cost_s = self._cost_s[size]
            free[core], self._sizes[core] = begun_s + cost_s, size
            self.busy_s += cost_s
            for _ in range(size):
                wait_s = begun_s - line.popleft()
                self.waits_s.append(wait_s)
                self.latencies_s.append(wait_s + cost_s)
