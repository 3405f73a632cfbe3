"""service.memory: blocks that are freed are not mapped anew."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from service.memory import keep_freed_memory
import numpy as np
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(10):
    np.ones(200_000, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(1000):
    np.ones(200_000, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_is_used_again_without_page_faults() -> None:
    def faults(how: str) -> int:
        # A fresh process: glibc raises its threshold by itself once something large was freed.
        environment = {"MALLOC_MMAP_THRESHOLD_": "131072"} if how == "default" else {}
        answer = subprocess.run(
            [sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True, env=environment
        )
        return int(answer.stdout)

    pages = 1000 * 200_000 // resource.getpagesize()
    assert faults("default") > pages / 2
    assert faults("keep") < pages / 100
