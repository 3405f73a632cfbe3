"""The service against its own OpenAPI document, by schemathesis, over a real socket, with every check that it has."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.service.artefacts import write_mean
from tests.service.serving import serving

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")


@pytest.mark.parametrize(
    ("examples", "least"),
    [
        (8, 100),
        pytest.param(60, 200, marks=pytest.mark.slow),  # a third of a minute
    ],
)
def test_the_service_does_as_its_document_says(examples: int, least: int, tmp_path: Path) -> None:
    write_mean(tmp_path / "artifacts")  # of 1000 classes, as the document has it
    with serving(tmp_path / "artifacts") as service:
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION)),
            *("run", f"{service.url}/openapi.json", "--checks", "all", "--mode", "all", "--continue-on-failure"),
            *("--max-examples", str(examples), "--seed", "1", "--no-color", "--request-timeout", "10"),
        ]
        hooks = {"SCHEMATHESIS_HOOKS": "tests.service.api.valid_images", "PYTHONPATH": str(ROOT)}
        result = subprocess.run(
            command, cwd=tmp_path, env=os.environ | hooks, capture_output=True, text=True, timeout=120, check=False
        )
    assert result.returncode == 0, result.stdout + result.stderr
    generated = re.search(r"(\d+) generated", result.stdout)
    assert generated is not None, result.stdout
    assert int(generated[1]) > least  # and none of it was skipped for want of valid data
