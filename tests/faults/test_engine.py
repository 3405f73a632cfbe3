"""An engine that goes wrong inside ONNX Runtime, in every way that it can, in the middle of other people's requests."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults import traps
from tests.faults.crowd import REFUSED, Asked, at_the_same_time
from tests.faults.witness import FaultyService, faulty, witnessing

LIMIT_S = 2  # of the watchdog


@pytest.fixture(scope="module")
def service(repository: Path, shape: tuple[str, ...]) -> Iterator[FaultyService]:
    """The service with an engine that can be made to fail."""
    with faulty(repository, *shape, "--engine-timeout-s", str(LIMIT_S)) as service:
        yield service


def among_others(service: FaultyService, *levels: int) -> tuple[list[Asked], list[Asked]]:
    """Ask for `levels` and as many harmless images at once, so that they share batches; return both."""
    # While the slow are computed, whoever comes piles up behind them.
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(at_the_same_time, service.url, [traps.SLOW] * 2)
        time.sleep(0.1)
        everyone = at_the_same_time(service.url, [*levels, *range(10, 18)])
        assert not any(one.wrong for one in slow.result())  # a failing run may have been theirs, too
    return everyone[: len(levels)], everyone[len(levels) :]


def causes(service: FaultyService) -> list[str]:
    """Return what the log of whoever speaks HTTP says about failures."""
    return re.findall(r"service\.api\.problems: request \S+: inference failed: (.*)", service.log)


def test_numbers_that_are_none_are_told_to_their_own_caller_alone(service: FaultyService, tmp_path: Path) -> None:
    with witnessing(service, tmp_path) as witness:
        witness.settle()
        poisoned, others = among_others(service, traps.NOT_A_NUMBER)
        assert [one.outcome for one in poisoned] == [500]
        assert all(one.right for one in others)
    assert set(witness.outcomes()) == {200}
    assert "not finite" in causes(service)[-1]


@pytest.mark.parametrize(
    ("trap", "said"), [(traps.FAILS, "out of data bounds"), (traps.TOO_FEW_ROWS, "the engine answered (")]
)
def test_a_run_that_fails_is_told_to_those_in_it_and_the_engine_goes_on(
    service: FaultyService, trap: int, said: str
) -> None:
    before = len(causes(service))
    failing, others = among_others(service, trap)
    assert [one.outcome for one in failing] == [500]
    assert all(one.right or one.outcome == 500 for one in others)  # some shared its batch
    after = at_the_same_time(service.url, range(20, 24))
    assert all(one.right for one in after)
    assert all(said in cause for cause in causes(service)[before:])
    assert len(causes(service)) > before


def test_a_batch_that_does_not_fit_in_memory_is_answered_in_two(service: FaultyService) -> None:
    """It needs more memory than any machine has where more than four are run together."""
    for _ in range(10):  # until as many meet in one run
        hungry, others = among_others(service, *[traps.HUNGRY] * 2)
        assert all(one.right for one in (*hungry, *others))
        if service.says("does not fit in memory, so it is run in two halves"):
            return
    pytest.fail("never more than four met in one run")


def test_an_engine_that_hangs_is_replaced_and_who_waits_for_it_is_told(service: FaultyService, tmp_path: Path) -> None:
    with witnessing(service, tmp_path) as witness:
        witness.settle()
        (hanging,) = at_the_same_time(service.url, [traps.HANGS])
        witness.recovers(hanging.ended_s)
        assert hanging.outcome == 503
        assert hanging.ended_s - hanging.started_s < LIMIT_S + 3
        time.sleep(0.2)  # for the outsider to see it
    outcomes = witness.outcomes(broken=4)  # of who connected just before and had not sent anything for a while
    assert outcomes[200] > 20
    assert not outcomes[REFUSED]  # whoever connects meanwhile waits, or is told
    assert service.says("the engine has not answered for 2 s")


def test_a_process_that_is_told_to_stop_does_not_start_again_because_its_engine_hangs(repository: Path) -> None:
    with faulty(repository, "--engine-timeout-s", "1", "--drain-delay-s", "2") as service:
        with ThreadPoolExecutor(1) as pool:
            hanging = pool.submit(at_the_same_time, service.url, [traps.HANGS])
            time.sleep(0.3)
            service.process.send_signal(signal.SIGTERM)
            assert service.process.wait(10) == 0
            assert [one.outcome for one in hanging.result()] == [503]
        assert service.says("the engine has not answered for 1 s")
        assert not service.says("takes this one's place")
