"""How many cores this process may really use: CPU affinity and cgroup quota, not the host's core count."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def available_cores(cgroup: Path = _CGROUP) -> int:
    """Return the number of cores this process may keep busy, at least 1.

    The smaller of the CPUs in its affinity mask (taskset, cpusets) and its cgroup's CPU quota, rounded up: a
    quota of 1.5 cores is best used by two threads.
    """
    cores = len(os.sched_getaffinity(0))
    quota = _cgroup_quota(cgroup)
    return max(1, min(cores, math.ceil(quota)) if quota else cores)


def own_cores(cgroup: Path = _CGROUP) -> list[int]:
    """Return the numbers of the cores that threads may be bound to, one each; none where a quota gives fewer.

    Under a quota there are many more cores than threads. Everybody who bound theirs would choose the same.
    """
    cores = sorted(os.sched_getaffinity(0))
    return cores if len(cores) == available_cores(cgroup) else []


@contextlib.contextmanager
def bound_to(core: int) -> Iterator[None]:
    """Keep the calling thread on `core` meanwhile, unless it may not go there (any more)."""
    before = os.sched_getaffinity(0)  # of this thread (sched_setaffinity(2))
    if core not in before:
        yield
        return
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def share_of_cores(processes: int) -> int:
    """Return how many threads each of so many processes should have, so that together they keep every core busy."""
    return math.ceil(available_cores() / processes)


def _cgroup_quota(cgroup: Path) -> float | None:
    """Return the quota in cores, or None without one; cgroup v2 `cpu.max`, then v1 `cpu.cfs_*` (kernel docs)."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if quota in ("max", "-1"):
        return None
    return int(quota) / int(period)
