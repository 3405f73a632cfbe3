"""`kill -9` of every kind of process, under load, and of one that stands still as a whole."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.faults.crowd import REFUSED
from tests.faults.witness import faulty, witnessing
from tests.service.cluster.processes import Cluster, until

CALLERS = 4


def test_whoever_is_killed_is_replaced_and_nobody_else_notices(repository: Path, tmp_path: Path) -> None:
    with (
        faulty(repository, "--frontends", "2") as service,
        witnessing(service, tmp_path, CALLERS) as witness,
    ):
        here = Cluster(service)
        for victim in ("engine-0", "frontend-0", "frontend-1"):
            witness.settle()
            witness.survives(here, victim)
    outcomes = witness.outcomes(broken=2 * CALLERS)  # what a killed frontend was answering
    assert not outcomes[REFUSED]  # the port is the supervisor's: there is always somebody who takes connections
    assert outcomes[503]  # while there was no engine


@pytest.mark.slow  # tests/service/cluster/test_processes.py kills one while it starts
def test_an_engine_that_is_killed_again_and_again_while_it_starts_comes_up_in_the_end(
    repository: Path, tmp_path: Path
) -> None:
    with (
        faulty(repository, "--frontends", "1") as service,
        witnessing(service, tmp_path, CALLERS) as witness,
    ):
        here = Cluster(service)
        witness.settle()
        for _ in range(3):
            struck_s = time.monotonic()
            pid = here.kill("engine-0")
            until(lambda pid=pid: here.pid("engine-0") != pid, 10)  # type: ignore[misc]
        witness.recovers(struck_s)
        until(lambda: here.depth() == 0, 10)  # no slot was lost
    assert set(witness.outcomes()) == {200, 503}


@pytest.mark.slow  # as long as standing still is put up with, twice
def test_a_process_that_stands_still_as_a_whole_is_killed_and_replaced(repository: Path, tmp_path: Path) -> None:
    """Stopped, it cannot find out by itself that it does not answer; nor can one whose thread never lets go."""
    with (
        faulty(repository, "--frontends", "2", "--engine-timeout-s", "1") as service,
        witnessing(service, tmp_path, CALLERS) as witness,
    ):
        here = Cluster(service)
        for victim in ("engine-0", "frontend-1"):
            witness.settle()
            witness.survives(here, victim, signal.SIGSTOP)
            assert service.says(f"{victim} has stood still for 1 s and is killed")
    witness.outcomes(broken=CALLERS)


def test_after_the_only_process_was_killed_another_starts_at_once_on_the_same_port(repository: Path) -> None:
    with faulty(repository, code=-signal.SIGKILL) as service:
        port = service.url.rpartition(":")[2]
        os.kill(service.pid, signal.SIGKILL)
        service.process.wait(10)
    with faulty(repository, "--port", port) as again:
        assert again.url == service.url
