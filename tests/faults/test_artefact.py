"""An artefact that is not there, not whole, not what it says, or not what it was."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from service import seal
from tests.conftest import ROOT
from tests.faults.traps import write_traps
from tests.faults.witness import faulty, witnessing
from tests.service.cluster.processes import Cluster
from tests.service.serving import command, environment

DAMAGED = "model.onnx is damaged: it is not what was written when it was exported"


def missing(artefact: Path) -> None:
    artefact.unlink()


def truncated(artefact: Path) -> None:
    artefact.write_bytes(artefact.read_bytes()[:-1000])


def flipped(artefact: Path) -> None:
    """One bit of one weight: a graph like any other, which gives other answers."""
    whole = artefact.read_bytes()
    (levels,) = (each for each in onnx.load(artefact).graph.initializer if each.name == "levels")
    at = whole.index(levels.raw_data) + 4 * 7 + 2  # of the seventh of them, 7.0, the exponent
    artefact.write_bytes(whole[:at] + bytes([whole[at] ^ 0x80]) + whole[at + 1 :])


def contradicting(artefact: Path) -> None:
    """A contract that promises another size than the graph takes; sealed, as if the exporter had done it."""
    model = onnx.load(artefact)
    for entry in model.metadata_props:
        entry.value = entry.value.replace('"crop":32', '"crop":16')
        if entry.key == seal.METADATA_KEY:
            entry.value = seal.BLANK
    artefact.write_bytes(seal.seal(model.SerializeToString()))


@pytest.mark.parametrize(
    ("shape", "harm", "told"),
    [
        ((), missing, "no artefact in"),
        ((), truncated, "model.onnx"),
        ((), flipped, DAMAGED),
        ((), contradicting, "the contract promises image uint8 (N, 16, 16, 3)"),
        (("--frontends", "1"), flipped, DAMAGED),
    ],
)
def test_what_cannot_be_served_is_refused_at_start_with_the_reason(
    shape: tuple[str, ...], harm: Callable[[Path], None], told: str, tmp_path: Path
) -> None:
    harm(write_traps(tmp_path))
    result = subprocess.run(
        command("--artifacts", str(tmp_path), "--port", "0", *shape),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1
    assert told in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow  # three seconds, for three processes to be replaced
def test_what_is_served_is_served_whatever_becomes_of_its_file(tmp_path: Path) -> None:
    """Also by processes that are started after that."""
    artefact = write_traps(tmp_path / "artifacts", version=3)
    with (
        faulty(tmp_path / "artifacts", "--frontends", "1") as service,
        witnessing(service, tmp_path) as witness,
    ):
        here = Cluster(service)
        witness.settle()
        other = write_traps(tmp_path / "other")
        flipped(other)
        other.replace(artefact)  # as the exporter does it: another file under the same name
        witness.survives(here, "engine-0")
        shutil.rmtree(tmp_path / "artifacts")
        for victim in ("frontend-0", "engine-0"):
            witness.survives(here, victim)
    witness.outcomes(broken=8)
