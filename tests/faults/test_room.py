"""Places that are too small or become full: shared memory, and the disk that is exported to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.namespace import fill, small_file_system
from tests.faults.traps import write_traps
from tests.faults.witness import faulty, witnessing
from tests.service.cluster.processes import SHM, Cluster
from tests.service.serving import command, environment


def test_shared_memory_that_is_too_small_is_refused_at_start_with_what_to_do(repository: Path) -> None:
    with small_file_system(SHM, mebibytes=1) as namespace:
        arguments = command("--artifacts", str(repository), "--port", "0", "--frontends", "2")
        result = subprocess.run(
            [*namespace.prefix, *arguments],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert list(namespace.outside(SHM).iterdir()) == []
    assert result.returncode == 1
    assert "/dev/shm is too small for" in result.stderr
    assert "--shm-size" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow  # three seconds, for two processes to be replaced
def test_shared_memory_that_becomes_full_hurts_nobody_nor_who_starts_then(repository: Path, tmp_path: Path) -> None:
    with small_file_system(SHM, mebibytes=32) as namespace:
        shm = namespace.outside(SHM)
        with (
            faulty(repository, "--frontends", "2", prefix=namespace.prefix, shm=shm) as service,
            witnessing(service, tmp_path) as witness,
        ):
            here = Cluster(service)
            witness.settle()
            filler = fill(shm)
            for victim in ("engine-0", "frontend-1"):
                witness.survives(here, victim)
        witness.outcomes(broken=4)
        assert list(shm.iterdir()) == [filler]


@pytest.mark.slow  # a whole export; what happens at its end is in tests/export/test_repository.py
def test_an_export_to_a_disk_that_becomes_full_says_so_and_leaves_what_was_there(tmp_path: Path) -> None:
    with small_file_system(tmp_path, mebibytes=8) as namespace:  # of the 45 that a ResNet-18 takes
        disk = namespace.outside(tmp_path)
        older = write_traps(disk)
        served, free = older.read_bytes(), os.statvfs(disk).f_bfree
        network = ("resnet18", "--weights", "untrained", "--resize", "72", "--crop", "64")
        over = ("--output", str(tmp_path), "--name", "traps", "--version", "1", "--force", "--quiet")
        result = subprocess.run(
            [*namespace.prefix, sys.executable, "-m", "export", *network, *over],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert [path for path in disk.rglob("*") if path.is_file()] == [older]
        assert list(older.parent.parent.iterdir()) == [older.parent]
        assert older.read_bytes() == served
        assert os.statvfs(disk).f_bfree == free
    told = f"resnet-export: error: cannot write to {tmp_path}/traps: No space left on device; nothing was changed"
    assert result.returncode == 5
    assert result.stderr.splitlines()[-1] == told
    assert result.stdout == ""
