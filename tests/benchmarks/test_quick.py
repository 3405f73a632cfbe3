"""The benchmark, run for real, in its shortest form."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow  # a quarter of a minute; its parts are in test_load.py, test_runtime.py and test_toy.py


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("results")
    scratch = tmp_path_factory.mktemp("scratch")
    command = [sys.executable, "-m", "benchmarks", "--quick", "--output", str(output), "--scratch", str(scratch)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == (output / "benchmark.md").read_text().strip()
    return output


@pytest.fixture(scope="module")
def figures(results: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((results / "benchmark.json").read_text())
    return found


def test_bound_and_service_are_measured_and_nothing_fails(figures: dict[str, Any]) -> None:
    (subject,) = figures["subjects"]
    cells = subject["cells"]
    assert subject["bound"] in cells
    assert {"service, concurrency 1", "service, concurrency 32", "decode + inference alone"} <= set(cells)
    for name, cell in cells.items():
        assert cell["median"]["images_per_s"] > 0, name
        assert cell["median"]["cpu_ms"] > 0, name
        assert cell["median"]["failed"] == 0, name


def test_offered_load_is_raised_beyond_saturation(figures: dict[str, Any]) -> None:
    (subject,) = figures["subjects"]
    assert [step["fraction"] for step in subject["growth"]] == [0.25, 2.0]
    assert all(step["summary"]["failed"] == 0 for step in subject["growth"])
    assert len(subject["memory"]) > 2
    assert all(amount > 0 for _, amount in subject["memory"])


def test_a_reader_learns_on_what_machine_and_how(figures: dict[str, Any]) -> None:
    about = figures["about"]
    assert about["cores"] >= 1
    assert "--quick" in about["command"]
    assert {"onnxruntime", "fastapi"} <= set(about["versions"])
    assert {target["what"] for target in figures["targets"]} >= {"overhead: one process"}


def test_the_tables_are_whole(results: Path) -> None:
    lines = (results / "benchmark.md").read_text().splitlines()
    tables = [line for line in lines if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)
    assert sum("---" in line or "--:" in line for line in tables) == 3


def test_a_figure_is_drawn(results: Path) -> None:
    assert (results / "benchmark.png").read_bytes().startswith(b"\x89PNG")
