"""How much is measured, and for how long."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """The extent of one benchmark.

    Attributes:
        networks: Which of the networks in `subjects.NETWORKS`.
        rounds: How often each cell is measured; its medians are reported.
        warm_s: Load before a measurement's window opens.
        window_s: Concurrency, length of the window.
        bound_s: Length of one measurement of the bare loop.
        layouts: How many of the bare loop's layouts are kept after the first look at all.
        frontends: Numbers of frontends whose overhead is measured beside that of one process.
        loads: Offered load of the growth curve, as fractions of the throughput at concurrency 32.
        load_s: Length of one point of that curve.
        budget_s: After this much time no further round begins; for the networks, in proportion.
        starts: How often the time from command to readiness is measured.
        soak_s: Length of the steady load, after everything else, under which memory is watched; 0 for none.
    """

    networks: tuple[str, ...] = ("resnet18-int8", "resnet50")
    rounds: int = 3
    warm_s: float = 0.7
    window_s: tuple[tuple[int, float], ...] = ((1, 1.5), (8, 2.5), (32, 2.5), (256, 2.0))
    bound_s: float = 2.0
    layouts: int = 2
    frontends: tuple[int, ...] = (2,)
    loads: tuple[float, ...] = (0.25, 0.5, 0.75, 0.9, 1.0, 1.25, 1.5, 2.0)
    load_s: float = 4.0
    budget_s: float = 240.0
    starts: int = 3
    soak_s: float = 0.0


FULL = Plan()
# For tests: every part once, with the network that only averages pixels.
QUICK = Plan(
    networks=(),
    rounds=1,
    warm_s=0.2,
    window_s=((1, 0.5), (32, 0.5)),
    bound_s=0.3,
    layouts=1,
    frontends=(),
    loads=(0.25, 2.0),
    load_s=1.0,
    starts=1,
)
