"""`python -m benchmarks.autoscaling`: play a day against the autoscalers shipped, and against others' targets."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]

from benchmarks.autoscaling.costs import COSTS
from benchmarks.autoscaling.day import rates
from benchmarks.autoscaling.play import Played, World, play
from benchmarks.autoscaling.plot import draw
from benchmarks.autoscaling.scalers import CPU, IN_FLIGHT, QUEUE_WAIT, Scaler, read_hpa, read_keda

_CPU_SHARES = (0.5, 0.6, 0.7, 0.8)
_FLIGHTS = (1.5, 2.0, 2.5, 3.0, 4.0)
_WAITS_S = (0.1, 0.25, 0.5)
HEAD = """\
| autoscaler | p50 s | p99 s | p99.9 s | not answered | replica-hours | most |
|---|--:|--:|--:|--:|--:|--:|
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table, one line an autoscaler; those shipped in bold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.autoscaling", description=main.__doc__)
    parser.add_argument("--model", choices=COSTS, default="resnet50", help="default: %(default)s")
    parser.add_argument("--peak", type=float, default=150.0, metavar="IMAGES/S", help="default: %(default)s")
    parser.add_argument(
        "--ready-s", type=float, default=20.0, help="until a new replica is ready (default: %(default)s)"
    )
    parser.add_argument("--shipped", action="store_true", help="play those shipped only")
    parser.add_argument("--figure", type=Path, metavar="PNG", help="draw those shipped")
    parsed = parser.parse_args(arguments)
    world = World(COSTS[parsed.model], ready_s=parsed.ready_s)
    load = rates(parsed.peak)
    shipped = {"HPA": read_hpa(), "KEDA": read_keda()}
    played: dict[str, Played] = {}
    print(HEAD, end="")
    candidates = _candidates(shipped, alone=parsed.shipped)
    for name, scaler in tqdm(candidates, unit="day", disable=None):
        played[name] = play(world, load, scaler)
        print(row(f"**{name}**" if scaler in shipped.values() else name, played[name]), flush=True)
    if parsed.figure is not None:
        days = {name: played[name] for name, scaler in candidates if scaler in shipped.values()}
        title = (
            f"{world.cost.name}, replicas of {world.cost.images_per_s:.0f} images/s, ready after {parsed.ready_s:g} s"
        )
        draw(load, days, title, parsed.figure)
    return 0


def row(name: str, played: Played) -> str:
    """Return a line of the table."""
    times = " | ".join(f"{played.percentile_s(percent):.2f}" for percent in (50, 99, 99.9))
    return f"| {name} | {times} | {played.lost:.2%} | {played.replica_hours:.0f} | {max(played.replicas)} |"


def _candidates(shipped: dict[str, Scaler], *, alone: bool) -> list[tuple[str, Scaler]]:
    hpa, keda = shipped["HPA"], shipped["KEDA"]
    share, flight, wait_s = hpa.target(CPU), keda.target(IN_FLIGHT), keda.target(QUEUE_WAIT)
    shares, pairs = {share}, {(flight, wait_s)}
    if not alone:
        shares |= set(_CPU_SHARES)
        pairs |= {(each, wait_s) for each in _FLIGHTS} | {(flight, each) for each in _WAITS_S}
    made = [(f"HPA: CPU {each:.0%}", hpa.aiming_at(cpu=each)) for each in sorted(shares)]
    for each, longest_s in sorted(pairs):
        name = f"KEDA: {each:g} in flight, {longest_s:g} s in line"
        made.append((name, keda.aiming_at(in_flight=each, queue_wait=longest_s)))
    return made


if __name__ == "__main__":
    sys.exit(main())
