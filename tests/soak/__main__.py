"""`make soak`: a service of several processes under mixed clients and a fault every so often, and what became of all.

Exit code 0 if nothing was lost, nobody was answered wrongly and every fault was overcome, else 1.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.crowd import ask
from tests.faults.traps import write_traps
from tests.faults.witness import FaultyService, faulty
from tests.service.cluster.processes import Cluster
from tests.soak.clients import Mixture
from tests.soak.meter import Meter
from tests.soak.report import Report, Struck, judge
from tests.soak.strikes import BREAKING, STRIKES

ENGINE_TIMEOUT_S = 2
_PATIENCE_S = 30.0  # with one fault; a service that is not well again by then is not going to be
_IN_A_ROW = 20  # right answers that say that all is well


def main() -> int:
    """Soak; return the exit code."""
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        write_traps(Path(folder))
        with faulty(
            Path(folder), "--frontends", "2", "--engine-timeout-s", str(ENGINE_TIMEOUT_S), "--log-level", "info"
        ) as service:
            report = soak(service, arguments.seconds, arguments.every, arguments.seed)
    print("\n".join(report.lines()), flush=True)
    return report.exit_code


def parse_arguments() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long (%(default)s)")
    parser.add_argument("--every", type=float, default=20, help="seconds from fault to fault (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the clients' choices (%(default)s)")
    return parser.parse_args()


def soak(service: FaultyService, seconds: float, every_s: float, seed: int) -> Report:
    """Let clients come for `seconds`, strike every `every_s`, and judge."""
    random.seed(seed)
    mixture, meter, here = Mixture(service.url, seed), Meter(service.session), Cluster(service)
    meter.start()
    mixture.start()
    struck: list[Struck] = []
    began_s = time.monotonic()
    names = list(STRIKES)
    while (due_s := began_s + (len(struck) + 1) * every_s) < began_s + seconds:
        time.sleep(max(0.0, due_s - time.monotonic()))
        name = names[len(struck) % len(names)]
        struck.append(strike(name, here))
        elapsed_s, back_s = time.monotonic() - began_s, struck[-1].to_s - struck[-1].from_s
        sent = len(mixture.sent)
        print(f"{elapsed_s:5.0f} of {seconds:.0f} s: {name}: {back_s:.1f} s; {sent} sent", file=sys.stderr, flush=True)
    time.sleep(max(0.0, began_s + seconds - time.monotonic()))
    everybody_heard = mixture.stop()
    meter.stop()
    here.client.close()
    assert everybody_heard, "a client still waits"
    return judge(mixture.sent, struck, meter.readings)


def strike(name: str, here: Cluster) -> Struck:
    """Let a fault happen and wait until the service is well again: so many right answers in a row."""
    from_s = time.monotonic()
    before = here.pids()
    STRIKES[name](here)
    in_a_row = 0
    while in_a_row < _IN_A_ROW and time.monotonic() < from_s + _PATIENCE_S:
        one = ask(here.service.url, 5)
        # A process that was stopped, and nobody has noticed yet, is a fault that has not begun to show.
        noticed = "stands still" not in name or here.pids() != before
        in_a_row = in_a_row + 1 if one.right and noticed else 0
        time.sleep(0.01)
    return Struck(name, from_s, time.monotonic(), breaking=name in BREAKING, overcome=in_a_row == _IN_A_ROW)


if __name__ == "__main__":
    sys.exit(main())
