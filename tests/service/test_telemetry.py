"""Nobody is told that the service runs: ONNX Runtime's telemetry stays off, and leaves no identifier behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.service.serving import environment


def traces(code: str, folder: Path) -> list[str]:
    env = environment(TMPDIR=str(folder), HOME=str(folder), XDG_CACHE_HOME=str(folder))
    env.pop("ORT_DISABLE_TELEMETRY", None)
    subprocess.run([sys.executable, "-B", "-c", code], cwd=ROOT, env=env, check=True, timeout=60)
    return [path.name for path in folder.iterdir()]


@pytest.mark.parametrize("room", ["service.engine", "export.graph"])
def test_loading_the_runtime_leaves_nothing_behind(room: str, tmp_path: Path) -> None:
    assert traces(f"import {room}, onnxruntime", tmp_path) == []
