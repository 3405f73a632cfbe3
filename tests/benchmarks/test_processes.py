from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.processes import MemoryWatch, cpu_s, family, memory_bytes

MEBIBYTE = 2**20
# Allocates or computes, says so, and waits to be killed.
HOLD = "block = bytearray(b'x' * (64 << 20)); print(flush=True); import time; time.sleep(60)"
SPIN = "import time; end = time.process_time() + 0.4\nwhile time.process_time() < end: pass\n"
PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", *arguments], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
    finally:
        os.killpg(process.pid, 9)
        process.wait()
        process.stdout.close()


def test_a_family_counts_children_with_their_cpu_time_and_memory() -> None:
    with running(PARENT, SPIN + HOLD) as process:
        members = family(process.pid)
        assert len(members) == 2
        assert 0.4 <= cpu_s(process.pid) < 5
        assert 64 * MEBIBYTE < memory_bytes(process.pid) < 200 * MEBIBYTE
    assert memory_bytes(process.pid) == 0


def test_memory_is_sampled_while_the_block_runs() -> None:
    with running(HOLD) as process, MemoryWatch(process.pid, every_s=0.02) as watch:
        deadline = time.monotonic() + 20
        while len(watch.samples) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    count = len(watch.samples)
    assert count >= 3
    assert all(amount > 64 * MEBIBYTE for _, amount in watch.samples[:2])
    time.sleep(0.1)
    assert len(watch.samples) == count
