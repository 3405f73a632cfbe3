"""service.threads: affinity and cgroup quota decide, not the host's core count."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.threads import available_cores, bound_to, own_cores

MANY = frozenset(range(16))


@pytest.fixture
def sixteen_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: MANY)


@pytest.mark.usefixtures("sixteen_cores")
@pytest.mark.parametrize(
    ("cpu_max", "cores"),
    [("max 100000", 16), ("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("3200000 100000", 16)],
)
def test_follows_the_quota_of_cgroup_v2(tmp_path: Path, cpu_max: str, cores: int) -> None:
    (tmp_path / "cpu.max").write_text(cpu_max + "\n")
    assert available_cores(tmp_path) == cores


@pytest.mark.usefixtures("sixteen_cores")
@pytest.mark.parametrize(("quota", "cores"), [("-1", 16), ("400000", 4), ("10000", 1)])
def test_follows_the_quota_of_cgroup_v1(tmp_path: Path, quota: str, cores: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota + "\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert available_cores(tmp_path) == cores


def test_without_a_quota_it_is_the_cores_of_the_real_affinity(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    assert available_cores(tmp_path) == len(before)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert available_cores(tmp_path) == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.usefixtures("sixteen_cores")
@pytest.mark.parametrize(("cpu_max", "cores"), [("max 100000", sorted(MANY)), ("200000 100000", [])])
def test_nothing_is_bound_under_a_quota(tmp_path: Path, cpu_max: str, cores: list[int]) -> None:
    (tmp_path / "cpu.max").write_text(cpu_max + "\n")
    assert own_cores(tmp_path) == cores


def test_a_thread_is_bound_for_a_while_only() -> None:
    before = os.sched_getaffinity(0)
    with bound_to(max(before)):
        assert os.sched_getaffinity(0) == {max(before)}
    assert os.sched_getaffinity(0) == before
    with pytest.raises(ZeroDivisionError), bound_to(max(before)):
        raise ZeroDivisionError
    assert os.sched_getaffinity(0) == before


def test_a_core_that_is_not_this_threads_is_left_alone() -> None:
    before = os.sched_getaffinity(0)
    with bound_to(max(before) + 1):
        assert os.sched_getaffinity(0) == before
