"""A day, tick by tick: images arrive, replicas answer, the autoscaler looks and decides."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.autoscaling.costs import Cost
from benchmarks.autoscaling.day import arrivals
from benchmarks.autoscaling.replicas import Replica
from benchmarks.autoscaling.scalers import CPU, IN_FLIGHT, QUEUE_WAIT, Memory, Scaler, decide

TICK_S = 15  # the autoscaler looks, and Prometheus scrapes, every 15 s
_MINUTE = 4  # ticks over which the queries in deploy/components/keda look back
_CPU_WINDOW = 2  # ticks that the metrics server's figures are of, one tick ago


@dataclass(frozen=True)
class World:
    """What the autoscaler cannot change.

    Attributes:
        cost: Of an image.
        ready_s: From the decision until a new replica is ready: scheduling, an image that is pulled, a warm engine.
        capacity: Images that may wait in a replica.
        deadline_s: Of a request.
        drain_s: How long a replica that has to go is still there.
        seed: Of the arrivals.
    """

    cost: Cost
    ready_s: float = 20.0
    capacity: int = 512
    deadline_s: float = 30.0
    drain_s: float = 5.0
    seed: int = 0


@dataclass
class Played:
    """What came of it.

    Attributes:
        latencies_s: Of all images answered.
        offered: Images that came.
        refused: Images told 429.
        expired: Images told 504.
        replica_hours: Of all replicas, from decision to end.
        replicas: How many there were, tick by tick.
        p99_s: Of those answered, tick by tick; NaN where none was.
    """

    latencies_s: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    offered: int = 0
    refused: int = 0
    expired: int = 0
    replica_hours: float = 0.0
    replicas: list[int] = field(default_factory=list)
    p99_s: list[float] = field(default_factory=list)

    @property
    def lost(self) -> float:
        """Share of images that were not answered."""
        return (self.refused + self.expired) / self.offered

    def percentile_s(self, percent: float) -> float:
        """Return the latency that `percent` per cent of the answers do not exceed."""
        return float(np.percentile(self.latencies_s, percent))


class Cluster:
    """The replicas there are, those on their way included, and those that still answer what they had."""

    def __init__(self, world: World, replicas: int) -> None:
        self._world = world
        self._replicas = [self._new(0.0) for _ in range(replicas)]
        self._leaving: list[Replica] = []
        self._busy_s = 0.0

    def __len__(self) -> int:
        return len(self._replicas)

    def resize(self, replicas: int, now_s: float) -> None:
        """Start or stop as many as it takes, the newest first to go."""
        while len(self._replicas) < replicas:
            self._replicas.append(self._new(now_s + self._world.ready_s))
        while len(self._replicas) > replicas:
            self._leaving.append(self._replicas.pop())

    def pass_on(self, arrivals_s: NDArray[np.float64], until_s: float, random: np.random.Generator) -> list[Replica]:
        """Give each image to one of the ready replicas, at random as kube-proxy does; return all that worked."""
        ready = [each for each in self._replicas if each.ready_s < until_s]
        there = np.array([each.ready_s for each in ready])
        chosen = random.integers(len(ready), size=len(arrivals_s))
        # One that becomes ready within the tick takes no part before.
        early = arrivals_s < there[chosen]
        chosen[early] = random.choice(np.flatnonzero(there <= until_s - TICK_S), size=int(early.sum()))
        for number, replica in enumerate(ready):
            replica.take(arrivals_s[chosen == number].tolist(), until_s)
        for replica in self._leaving:
            replica.take((), until_s)
        worked = [*ready, *self._leaving]
        self._leaving = [each for each in self._leaving if each.in_flight(until_s)]
        return worked

    def _new(self, ready_s: float) -> Replica:
        world = self._world
        return Replica(world.cost.seconds(), world.cost.cores, world.capacity, world.deadline_s, ready_s)


def play(world: World, load: NDArray[np.float64], scaler: Scaler) -> Played:
    """Play a load, images per second by second, against an autoscaler."""
    random = np.random.default_rng(world.seed)
    cluster, memory, played = Cluster(world, scaler.fewest), Memory(), Played()
    seen = Seen(world.cost.cores)
    latencies: list[NDArray[np.float32]] = []
    for start_s in range(0, len(load), TICK_S):
        end_s = start_s + TICK_S
        came = arrivals(load[start_s:end_s], start_s, random)
        worked = cluster.pass_on(came, end_s, random)
        answered = seen.look(worked, end_s, len(cluster))
        latencies.append(answered)
        played.offered += len(came)
        played.replicas.append(len(cluster))
        played.p99_s.append(float(np.percentile(answered, 99)) if len(answered) else float("nan"))
        played.replica_hours += len(cluster) * TICK_S / 3600
        wanted = decide(scaler, memory, end_s, len(cluster), seen.measured())
        played.replica_hours += max(0, len(cluster) - wanted) * world.drain_s / 3600
        cluster.resize(wanted, end_s)
    played.latencies_s = np.concatenate(latencies)
    played.refused, played.expired = seen.refused, seen.expired
    return played


class Seen:
    """What the metrics server and Prometheus know of the replicas."""

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._shares: deque[float] = deque([0.0] * (_CPU_WINDOW + 1), _CPU_WINDOW + 1)
        self._in_flight: deque[int] = deque(maxlen=_MINUTE)
        self._waits: deque[tuple[float, int]] = deque(maxlen=_MINUTE)
        self._known: dict[int, tuple[float, int, int]] = {}  # counters of each replica at the last look
        self.refused = self.expired = 0

    def look(self, replicas: list[Replica], now_s: float, there: int) -> NDArray[np.float32]:
        """Read the counters of `replicas`, while there are `there`; return the latencies since the last look."""
        busy_s = 0.0
        latencies: list[float] = []
        waits: list[float] = []
        known = {}
        for each in replicas:
            before = self._known.get(id(each), (0.0, 0, 0))
            known[id(each)] = now = (each.busy_s, each.refused, each.expired)
            busy_s += now[0] - before[0]
            self.refused += now[1] - before[1]
            self.expired += now[2] - before[2]
            latencies += each.latencies_s
            waits += each.waits_s
            each.latencies_s, each.waits_s = [], []
        self._known = known
        # A replica that is not ready yet counts as idle, as the autoscaler has it where it would add more.
        self._shares.append(busy_s / (there * self._cores * TICK_S))
        self._in_flight.append(sum(each.in_flight(now_s) for each in replicas))
        self._waits.append((sum(waits), len(waits)))
        return np.asarray(latencies, np.float32)

    def measured(self) -> dict[str, float]:
        """Return each metric that an autoscaler may look at."""
        answered = sum(count for _, count in self._waits)
        return {
            CPU: min(1.0, sum(list(self._shares)[:-1]) / _CPU_WINDOW),
            IN_FLIGHT: sum(self._in_flight) / len(self._in_flight),
            QUEUE_WAIT: sum(total_s for total_s, _ in self._waits) / answered if answered else 0.0,
        }
