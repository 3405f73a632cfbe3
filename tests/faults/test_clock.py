"""The wall clock steps, as a machine's does when its time is set: nobody notices but the `Date` of answers."""

from __future__ import annotations

import email.utils
import time
from pathlib import Path

import httpx
import pytest

from tests.conftest import missing
from tests.faults.namespace import small_file_system
from tests.faults.witness import FaultyService, faulty, witnessing
from tests.service.cluster.processes import SHM

STEPS_S = (3600, -30 * 86_400)
ARGUMENTS = ("--frontends", "1", "--request-timeout-ms", "5000")


def library() -> str:
    """Return the path of libfaketime, which answers instead of the clock."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        missing("libfaketime is not installed (Debian's faketime)")
    return str(found[0])


def ahead_s(service: FaultyService) -> float:
    """Return by how much the service believes to be ahead of this process."""
    date = httpx.get(f"{service.url}/livez").headers["Date"]
    return email.utils.parsedate_to_datetime(date).timestamp() - time.time()


@pytest.mark.slow  # five seconds: libfaketime makes every look at a clock dear
def test_steps_of_the_clock_change_nothing(repository: Path, tmp_path: Path) -> None:
    """With deadlines that pass from process to process."""
    step = tmp_path / "step"
    step.write_text("+0\n")
    env = {
        "LD_PRELOAD": library(),
        "FAKETIME_TIMESTAMP_FILE": str(step),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    # libfaketime leaves what it shares between processes in /dev/shm: let that be one of its own.
    with small_file_system(SHM, mebibytes=32) as namespace:
        shm = namespace.outside(SHM)
        with (
            faulty(repository, *ARGUMENTS, prefix=namespace.prefix, env=env, shm=shm) as service,
            witnessing(service, tmp_path, at_once=2) as witness,  # libfaketime makes every look at a clock dear
        ):
            for seconds in STEPS_S:
                witness.settle()
                step.write_text(f"{seconds:+d}\n")
                limit_s = time.monotonic() + 10
                while abs(ahead_s(service) - seconds) > 30:  # the header is renewed every second
                    assert time.monotonic() < limit_s, f"the clock has not stepped by {seconds} s"
                    time.sleep(0.05)
                witness.settle()
        assert set(witness.outcomes()) == {200}
