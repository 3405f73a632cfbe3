"""Everything in turns, round by round, so that a noisy neighbour troubles all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import subjects
from benchmarks.bound import BareLoop, Decode, Layout
from benchmarks.generator import Summary
from benchmarks.load import LONG_RAMP_S, Spent, closed_loop, open_loop
from benchmarks.plan import Plan
from benchmarks.processes import MemoryWatch, cpu_s
from benchmarks.readings import Cell, Reading, Readings, in_turns, median
from benchmarks.server import Server, serving
from benchmarks.subjects import Say, Subject

ALONE = "decode + inference alone"
_CROWD = 32  # clients: the concurrency that throughput is judged at
_SETTLE_S = 2.0
_LONGEST_RAMP_S = 12.0


def service_cell(concurrency: int, frontends: int = 0) -> str:
    """Return the name of the service's cell at one concurrency."""
    return f"{f'{frontends} frontends' if frontends else 'service'}, concurrency {concurrency}"


@dataclass
class Growth:
    """What came of arrivals at one rate."""

    offered_per_s: float
    fraction: float
    summary: Summary
    spent: Spent
    seconds: float


@dataclass
class Measured:
    """All about one subject.

    Attributes:
        subject: What was served.
        readings: By cell.
        bound: The cells of the bare loop with the service's decoder.
        pillow: The cells of the bare loop with Pillow's.
        growth: By offered load.
        memory: Of the server: seconds, bytes.
        ready_s: From the command to readiness, each start.
        idle_cpu: Cores that the server kept busy when there was nothing to do.
    """

    subject: Subject
    readings: Readings
    bound: tuple[str, ...]
    pillow: tuple[str, ...]
    growth: list[Growth] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)
    ready_s: list[float] = field(default_factory=list)
    idle_cpu: float = 0.0

    def best(self, cells: Sequence[str]) -> str:
        """Return the cell of the highest median throughput."""
        return max(cells, key=lambda cell: median(self.readings[cell]).images_per_s)


def benchmark(plan: Plan, shared: Path, scratch: Path, say: Say) -> list[Measured]:
    """Measure what the plan says.

    Args:
        plan: How much.
        shared: Where trained weights and photos are.
        scratch: Where artefacts are kept from one run to the next.
        say: Told of what goes on.

    Returns:
        The networks, in the plan's order; at last, the overhead. The first has the growth curve.
    """
    served = [subjects.network(name, shared, scratch, say) for name in plan.networks]
    served.append(subjects.overhead(scratch))
    began_s = time.monotonic()
    results = []
    for number, subject in enumerate(served):
        say(f"{subject.name}: {subject.note}")
        until_s = began_s + plan.budget_s * (number + 1) / len(served)
        frontends = plan.frontends if subject is served[-1] else ()
        results.append(_measure(subject, plan, frontends, until_s, grow=number == 0, say=say))
    return results


def _measure(
    subject: Subject, plan: Plan, frontends: Sequence[int], until_s: float, *, grow: bool, say: Say
) -> Measured:
    bound = _Bound(subject, plan)
    with ExitStack() as stack:
        server = stack.enter_context(serving(subject.artifacts, subject.model))
        watch = stack.enter_context(MemoryWatch(server.pid))
        cells = bound.cells() + [
            _closed(server, subject, plan, bound.images_per_s, service_cell(concurrency), concurrency, length_s)
            for concurrency, length_s in plan.window_s
        ]
        for n in frontends:
            several = stack.enter_context(serving(subject.artifacts, subject.model, "--frontends", str(n)))
            length_s = dict(plan.window_s)[_CROWD]
            cells.append(_closed(several, subject, plan, bound.images_per_s, service_cell(_CROWD, n), _CROWD, length_s))
        say(f"{subject.name}: {len(cells)} cells, {plan.rounds} rounds")
        measured = Measured(subject, in_turns(cells, plan.rounds, until_s), tuple(bound.own), tuple(bound.pillow))
        if grow:
            measured.growth = _grow(server, measured, plan, say)
            _soak(server, measured, plan, say)
        measured.memory = watch.samples
        measured.idle_cpu = _idle_cpu(server)
        measured.ready_s = [server.ready_s]
    measured.ready_s += [_ready_s(subject) for _ in range(plan.starts - 1)]
    return measured


class _Bound:
    """The bare loop's cells, of the layouts that looked best at first sight.

    Attributes:
        own: Layouts by cell, with the service's decoder.
        pillow: Layouts by cell, with Pillow's.
        images_per_s: About what is possible.
    """

    def __init__(self, subject: Subject, plan: Plan) -> None:
        self._loop = BareLoop(subject.artefact, [path.read_bytes() for path in subject.images])
        self._few = [path.read_bytes() for path in subject.few]
        self._seconds = plan.bound_s
        fastest = self._loop.fastest(plan.layouts, plan.bound_s / 2)
        self.own = {f"bound, {layout}": layout for layout in fastest}
        self.pillow = {f"bound with Pillow, {layout}": layout for layout in list(fastest)[:1]}
        self.images_per_s = max(fastest.values())

    def cells(self) -> list[Cell]:
        """Return one for each layout and decoder, and one for the latency."""
        return [
            *(Cell(name, self._throughput(layout, self._loop.own)) for name, layout in self.own.items()),
            *(Cell(name, self._throughput(layout, self._loop.pillow)) for name, layout in self.pillow.items()),
            Cell(ALONE, lambda: self._loop.latency(self._few, self._seconds)),
        ]

    def _throughput(self, layout: Layout, decode: Decode) -> Callable[[], Reading]:
        return lambda: self._loop.throughput(layout, decode, self._seconds)


def _closed(
    server: Server, subject: Subject, plan: Plan, expected_per_s: float, name: str, concurrency: int, length_s: float
) -> Cell:
    ramp_s = min(concurrency / expected_per_s, _LONGEST_RAMP_S)
    images = subject.few if concurrency == 1 else subject.images
    return Cell(
        name,
        lambda: closed_loop(server, images, concurrency, (plan.warm_s, length_s), ramp_s),
        rounds=1 if ramp_s > LONG_RAMP_S else None,
    )


def _grow(server: Server, measured: Measured, plan: Plan, say: Say) -> list[Growth]:
    capacity = median(measured.readings[service_cell(_CROWD)]).images_per_s
    say(f"{measured.subject.name}: offered load up to {plan.loads[-1]:g} times {capacity:.0f} images/s")
    steps = open_loop(server, measured.subject.images, [capacity * load for load in plan.loads], plan.load_s)
    return [
        Growth(offered, fraction, summary, spent, plan.load_s * 3 / 4)
        for fraction, (offered, summary, spent) in zip(plan.loads, steps, strict=True)
    ]


def _soak(server: Server, measured: Measured, plan: Plan, say: Say) -> None:
    if plan.soak_s:
        say(f"{measured.subject.name}: steady load for {plan.soak_s / 60:.1f} minutes")
        closed_loop(server, measured.subject.images, _CROWD, (plan.warm_s, plan.soak_s), 0.0)


def _idle_cpu(server: Server) -> float:
    time.sleep(_SETTLE_S / 2)  # whatever was cut off is being cleared away
    before = cpu_s(server.pid)
    time.sleep(_SETTLE_S)
    return (cpu_s(server.pid) - before) / _SETTLE_S


def _ready_s(subject: Subject) -> float:
    with serving(subject.artifacts, subject.model) as server:
        return server.ready_s
