"""`python -m benchmarks.runtime`, run for real, in its shortest form; and what its parts measure."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.runtime import LAYOUTS, LONE, PAUSES_MS, STARTS
from benchmarks.sessions import Start, begin, load, loading, throughput
from benchmarks.subjects import Subject
from service.contract import INPUT_NAME

Tables = dict[str, list[list[str]]]  # title -> rows of cells, without the header


measured = pytest.mark.slow  # all of these tables, in four seconds


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    scratch = tmp_path_factory.mktemp("scratch")
    command = [sys.executable, "-m", "benchmarks.runtime", "--quick", "--scratch", str(scratch)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    _, *parts = done.stdout.split("\n## ")
    found = {}
    for part in parts:
        _, _, *rows = (line for line in part.splitlines() if line.startswith("|"))
        found[part.splitlines()[0]] = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return found


@measured
def test_every_layout_is_measured_with_every_batch(tables: Tables) -> None:
    rows = tables["overhead: layouts"]
    assert [name for name, *_ in rows] == list(LAYOUTS)
    for _, run_ms, *cells in rows:
        assert float(run_ms) > 0
        assert len(cells) == 4
        for cell in cells:
            images_per_s, cpu_ms = re.fullmatch(r"([\d,.]+) · ([\d.]+)", cell).groups()  # type: ignore[union-attr]
            assert float(images_per_s.replace(",", "")) > 0
            assert float(cpu_ms) > 0


@measured
def test_lone_images_are_measured_after_every_pause(tables: Tables) -> None:
    rows = tables["overhead: lone images"]
    assert [name for name, *_ in rows] == list(LONE)
    for _, *cells in rows:
        assert len(cells) == len(PAUSES_MS)
        assert all(float(figure) > 0 for cell in cells for figure in cell.split(" · "))


@measured
def test_memory_grows_with_sessions_and_with_batches(tables: Tables) -> None:
    held = {name: [float(cell.replace(",", "")) for cell in cells[2:]] for name, *cells in tables["overhead: start-up"]}
    assert list(held) == list(STARTS)
    assert all(after > loaded for loaded, after in held.values())
    assert held["two sessions at once"][1] > held["one session"][1]


@measured
def test_calls_and_decoding_have_a_cost(tables: Tables) -> None:
    calls, decoding = tables["Calls on threads"], tables["Freed memory"]
    assert (len(calls), len(decoding)) == (2, 4)
    assert all(float(cpu_us.replace(",", "")) > 0 for _, cpu_us, _ in calls + decoding)


def test_at_least_one_run_is_measured_however_short_the_time(toy: Subject) -> None:
    assert throughput(load(toy.artefact), 1, 1, 0.0).images_per_s > 0


def test_every_start_answers_alike(toy: Subject, tmp_path: Path) -> None:
    saved = tmp_path / "optimised.onnx"
    load(toy.artefact, save_as=saved)
    images = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), np.uint8)
    expected = load(toy.artefact).run(None, {INPUT_NAME: images})[0]
    for start in STARTS.values():
        sessions = begin(saved if start.saved else toy.artefact, start)
        assert len(sessions) == start.sessions
        for session in sessions:
            np.testing.assert_allclose(session.run(None, {INPUT_NAME: images})[0], expected, rtol=1e-4)


def test_both_sessions_are_loaded_when_their_time_is_taken(toy: Subject) -> None:
    began_s = time.monotonic()
    reading = loading(toy.artefact, Start(2))
    clock_ms = (time.monotonic() - began_s) * 1e3
    assert 0 < reading.p50_ms <= clock_ms
    assert reading.images_per_s == pytest.approx(2e3 / reading.p50_ms)
