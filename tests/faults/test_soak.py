"""`make soak`, short; and that it would say so if something were wrong."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.faults.crowd import BROKEN, HUNG, Asked
from tests.soak.clients import Sent
from tests.soak.report import Struck, judge
from tests.soak.strikes import STRIKES

GOOD = frozenset({200})
KILLED = Struck("kill -9 of a frontend", 10.0, 12.0, breaking=True, overcome=True)
HUNG_ENGINE = Struck("an engine that hangs", 10.0, 12.0, breaking=False, overcome=True)


def sent(outcome: int | str, *, at_s: float = 11.0, label: str = "grey 7") -> Sent:
    return Sent("good", Asked(7, at_s, at_s + 0.1, outcome, label if outcome == 200 else ""), GOOD)


@pytest.mark.slow  # as long as its faults take one after the other
def test_a_short_soak_loses_nothing() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.soak", "--seconds", "9", "--every", "1.8"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    counts = {name: int(count) for name, count in re.findall(r"^([a-z ]+?) {2,}(\d+)$", result.stdout, re.MULTILINE)}
    assert counts["lost"] == counts["wrong"] == 0
    assert counts["answered right"] > 100
    assert counts["hung up themselves"] > 10
    assert all(name in result.stdout for name in list(STRIKES)[:4])
    assert re.search(r"^ +\d+ +5 +\d+ +\d+$", result.stdout, re.MULTILINE)  # seconds, processes, memory, descriptors


@pytest.mark.parametrize(
    ("one", "struck"),
    [
        (sent(HUNG), KILLED),
        (sent(BROKEN), HUNG_ENGINE),
        (sent(BROKEN, at_s=20.0), KILLED),
        (sent(200, label="grey 8"), KILLED),
        (sent(503, at_s=20.0), KILLED),
        (sent(404), KILLED),
    ],
)
def test_what_nobody_may_be_answered_makes_it_fail(one: Sent, struck: Struck) -> None:
    report = judge([one], [struck], [])
    assert report.exit_code == 1
    assert len(report.lost) + len(report.wrong) == 1


@pytest.mark.parametrize("one", [sent(200), sent(200, at_s=20.0), sent(503), sent(500), sent(BROKEN)])
def test_what_a_fault_excuses_does_not(one: Sent) -> None:
    assert judge([one], [KILLED], []).exit_code == 0


def test_a_fault_that_is_never_overcome_makes_it_fail() -> None:
    never = Struck("an engine that hangs", 10.0, 40.0, breaking=False, overcome=False)
    report = judge([sent(200)], [never], [])
    assert report.exit_code == 1
    assert any(line.startswith("an engine that hangs") and line.endswith("never") for line in report.lines())
