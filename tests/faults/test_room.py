"""Places that are too small or become full: shared memory, and the disk that is exported to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT
from tests.faults.namespace import fill, small_file_system
from tests.faults.witness import faulty, witnessing
from tests.service.cluster.processes import SHM, Cluster
from tests.service.serving import command, environment

EXPORT = """
import sys
from pathlib import Path
from export.errors import NotWritten
from export.repository import stage
try:
    with stage(Path(sys.argv[1]) / "large") as staging:
        staging.write("model.onnx", bytes(8 << 20))
except NotWritten as error:
    sys.exit(f"told: {error}")
"""


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


def test_a_disk_that_becomes_full_in_the_middle_of_an_export_has_the_room_back_after_it(tmp_path: Path) -> None:
    with small_file_system(tmp_path, mebibytes=4) as namespace:
        result = subprocess.run(
            [*namespace.prefix, sys.executable, "-c", EXPORT, str(tmp_path)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert list(namespace.outside(tmp_path).iterdir()) == []
    assert result.returncode == 1
    assert "told: cannot write to" in result.stderr
    assert "No space left on device; nothing was changed" in result.stderr
