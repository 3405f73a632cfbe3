"""service.engine.cpu: where a lone image's threads run, by what the kernel says of them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from service.engine import cpu
from service.engine.cpu import CpuEngine
from service.threads import available_cores
from tests.service.artefacts import write_brightness

TASKS = Path("/proc/self/task")
GREY = np.full((32, 32, 3), 127, np.uint8)

pytestmark = pytest.mark.skipif(available_cores() < 2, reason="one core is every thread's")


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    return write_brightness(tmp_path)


def tasks() -> set[int]:
    return {int(task.name) for task in TASKS.iterdir()}


def bound(among: set[int]) -> list[int]:
    """The cores of those threads that have only one, see sched_setaffinity(2)."""
    masks = [os.sched_getaffinity(task) for task in among]
    return sorted(core for mask in masks if len(mask) == 1 for core in mask)


def test_each_thread_of_a_lone_image_keeps_to_a_core(artefact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tasks()
    engine = CpuEngine(artefact)
    first, *others = sorted(os.sched_getaffinity(0))
    assert bound(tasks() - before) == others

    seen = {}
    run = ort.InferenceSession.run

    def watched(session: ort.InferenceSession, *args: object) -> object:
        seen["while it runs"] = os.sched_getaffinity(0)
        return run(session, *args)

    monkeypatch.setattr(ort.InferenceSession, "run", watched)
    engine.infer([GREY], wide=True)
    assert seen["while it runs"] == {first}
    engine.infer([GREY])
    assert seen["while it runs"] == os.sched_getaffinity(0) == {first, *others}


def test_under_a_quota_none_does(artefact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "own_cores", list)
    before = tasks()
    engine = CpuEngine(artefact)
    assert bound(tasks() - before) == []
    assert engine.infer([GREY], wide=True).argmax() == 127
