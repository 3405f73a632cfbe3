"""What docs/client.md shows runs, against a real service and a real artefact."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service import client
from service.client.__main__ import ALL, INTERRUPTED, MISUSED, NOBODY_TO_ASK, SOME_FAILED
from tests.conftest import ROOT
from tests.service.api.greys import grey
from tests.service.artefacts import write_brightness
from tests.service.serving import environment, serving

TEXT = (ROOT / "docs" / "client.md").read_text()
PYTHON = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
SHELL = [
    line for block in re.findall(r"^```sh\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL) for line in block.split("\n")
]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str], str]]:
    """Where somebody follows the page: a folder with images and an artefact, and a service."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "photos").mkdir()
    for name in ("cat.jpg", "dog.png", "photos/a.jpg", "photos/b.jpg"):
        (folder / name).write_bytes(grey(50, "JPEG"))
    write_brightness(folder / "artifacts")
    (folder / "artifacts" / "brightness").rename(folder / "artifacts" / "resnet50")
    (folder / "resnet-classify").write_text(f'#!/bin/sh\nexec {sys.executable} -m service.client "$@"\n')
    (folder / "resnet-classify").chmod(0o755)
    with serving(folder / "artifacts") as service:
        path = f"{folder}{os.pathsep}{os.environ['PATH']}"
        yield folder, environment(PATH=path, PYTHONPATH=str(ROOT), RESNET_URL=service.url), service.url


@pytest.mark.parametrize("snippet", PYTHON, ids=lambda text: text.split("\n")[0])
def test_a_snippet_runs(reader: tuple[Path, dict[str, str], str], snippet: str) -> None:
    folder, env, url = reader
    command = [sys.executable, "-W", "error", "-c", snippet.replace("http://127.0.0.1:8000", url)]
    result = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert "grey 50" in result.stdout or "send it again" in result.stdout
    assert "failed" not in result.stdout


@pytest.mark.parametrize("line", [line for line in SHELL if line])
def test_a_command_runs(reader: tuple[Path, dict[str, str], str], line: str) -> None:
    folder, env, _ = reader
    result = subprocess.run(
        ["sh", "-c", line], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "grey 50" in result.stdout


def test_every_error_and_every_exit_code_is_told() -> None:
    kinds = {getattr(client, name) for name in client.__all__}
    errors = {kind.__name__ for kind in kinds if isinstance(kind, type) and issubclass(kind, Exception)}
    assert {name for name in errors if f"`{name}`" not in TEXT} == set()
    for code in (ALL, SOME_FAILED, MISUSED, NOBODY_TO_ASK, INTERRUPTED):
        assert f"| {code} |" in TEXT
