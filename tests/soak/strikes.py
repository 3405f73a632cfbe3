"""The faults of a soak: each strikes a service that runs, and is over when the service is well again."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable

from tests.faults import traps
from tests.faults.crowd import at_the_same_time
from tests.service.cluster.processes import Cluster

Strike = Callable[[Cluster], None]


def kill_engine(here: Cluster) -> None:
    here.kill("engine-0")


def kill_frontend(here: Cluster) -> None:
    here.kill(random.choice(sorted(set(here.pids()) - {"engine-0"})))


def stop_engine(here: Cluster) -> None:
    """Let it stand still as a whole, until that is noticed."""
    here.kill("engine-0", signal.SIGSTOP)


def stop_frontend(here: Cluster) -> None:
    here.kill("frontend-0", signal.SIGSTOP)


def kill_while_starting(here: Cluster) -> None:
    first = here.kill("engine-0")
    limit_s = time.monotonic() + 5
    while here.pid("engine-0") == first and time.monotonic() < limit_s:
        time.sleep(0.01)
    here.kill("engine-0")


def _send(*levels: int) -> Strike:
    def strike(here: Cluster) -> None:
        at_the_same_time(here.service.url, levels)

    return strike


STRIKES: dict[str, Strike] = {
    "kill -9 of the engine": kill_engine,
    "kill -9 of a frontend": kill_frontend,
    "an image that is answered with NaN": _send(traps.NOT_A_NUMBER),
    "an engine that hangs": _send(traps.HANGS),
    "runs that raise": _send(traps.FAILS, traps.FAILS),
    "a frontend that stands still": stop_frontend,
    "too few rows": _send(traps.TOO_FEW_ROWS),
    "kill -9 of the engine while it starts": kill_while_starting,
    "batches too large for the memory": _send(*[traps.SLOW] * 2, *[traps.HUNGRY] * 8),
    "an engine process that stands still": stop_engine,
}
# After these, connections may have broken: whoever had them is gone.
BREAKING = ("kill -9 of a frontend", "a frontend that stands still")
