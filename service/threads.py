"""How many cores this process may really use: CPU affinity and cgroup quota, not the host's core count."""

from __future__ import annotations

import math
import os
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
