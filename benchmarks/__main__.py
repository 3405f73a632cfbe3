"""`make bench`, and `python -m benchmarks`: measure, print a Markdown table, write JSON and a figure."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import plot, report
from benchmarks.plan import FULL, QUICK, Plan
from benchmarks.run import benchmark
from benchmarks.subjects import NETWORKS

_ROOT = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    parsed = _parser().parse_args(arguments)
    plan = _plan(parsed)
    command = ["python", "-m", "benchmarks", *(sys.argv[1:] if arguments is None else arguments)]
    about = report.circumstances(command, plan)
    if about["load_average_before"] > 0.5:
        _say(f"the load average is {about['load_average_before']}: others' work will spoil the figures")
    parsed.scratch.mkdir(parents=True, exist_ok=True)
    parsed.output.mkdir(parents=True, exist_ok=True)
    began_s = time.monotonic()
    results = benchmark(plan, parsed.shared, parsed.scratch, _say)
    about["seconds"] = round(time.monotonic() - began_s, 1)
    markdown = report.to_markdown(about, results)
    (parsed.output / "benchmark.md").write_text(markdown)
    (parsed.output / "benchmark.json").write_text(json.dumps(report.to_json(about, results), indent=1) + "\n")
    plot.draw(results, parsed.output / "benchmark.png")
    print(markdown)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="seconds, not minutes: to see that it works")
    parser.add_argument(
        "--networks", nargs="*", choices=NETWORKS, metavar="NAME", help=f"of {', '.join(NETWORKS)} (default: all)"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="how often everything is measured")
    parser.add_argument(
        "--soak",
        type=float,
        default=0.0,
        metavar="MINUTES",
        help="steady load at the end, to watch memory (default: 0)",
    )
    parser.add_argument(
        "--shared",
        type=Path,
        default=Path(os.environ.get("RESNET_TEST_SHARED", _ROOT.parent / "shared")),
        metavar="DIR",
        help="folder of weights/ and images/; without it, untrained networks and painted images (default: %(default)s)",
    )
    parser.add_argument(
        "--scratch", type=Path, default=_ROOT / "build" / "benchmarks", metavar="DIR", help="where artefacts are kept"
    )
    parser.add_argument(
        "--output", type=Path, default=_ROOT / "benchmarks" / "results", metavar="DIR", help="where results go"
    )
    return parser


def _plan(parsed: argparse.Namespace) -> Plan:
    plan = QUICK if parsed.quick else FULL
    if parsed.networks is not None:
        plan = replace(plan, networks=tuple(parsed.networks))
    return replace(plan, rounds=parsed.rounds or plan.rounds, soak_s=parsed.soak * 60)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
