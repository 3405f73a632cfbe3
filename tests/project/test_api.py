"""What docs/api.md shows runs, against real services."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.announcement import SAMPLE
from service.app import create_app
from service.settings import Settings
from tests.clients.test_clients import PYTHON as CLIENTS
from tests.conftest import ROOT, missing
from tests.project.conftest import environment, run
from tests.service.api.greys import grey
from tests.service.artefacts import write_brightness
from tests.service.serving import serving

TEXT = (ROOT / "docs" / "api.md").read_text()
SHELL = re.findall(r"^```sh\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
PYTHON = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
KEY = "a-key-of-sixteen-characters"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the reader is: some files, and a repository of two models."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "cat.jpg").write_bytes(SAMPLE.read_bytes())
    (folder / "dog.png").write_bytes(grey(9))
    (folder / "notes.txt").write_text("no image")
    (folder / "keys").write_text(f"{KEY}\n")
    write_brightness(folder / "artifacts", 1, name="resnet50")
    write_brightness(folder / "artifacts", 2, name="resnet18")
    return folder


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with serving(folder / "artifacts", "--model", "resnet50,resnet18:2") as service:
        yield service.url


@pytest.fixture(scope="module")
def administered(folder: Path) -> Iterator[str]:
    options = ("--model", "resnet50", "--model-admin", "--api-keys-file", str(folder / "keys"))
    with serving(folder / "artifacts", *options) as service:
        yield service.url


@pytest.mark.parametrize("block", SHELL, ids=lambda block: block.split("\n")[0][-40:])
def test_commands_do_as_they_say(folder: Path, block: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("administered" if "$KEY" in block else "url")
    script = block.replace("http://127.0.0.1:8000", url).replace(
        "curl ", "curl --silent --show-error --fail-with-body "
    )
    result = run(f"set -e\n{script}", folder, env=environment(KEY=KEY))
    assert result.returncode == 0, result.stdout
    answers = result.stdout.replace("}{", "}\n{").replace("]{", "]\n{").split("\n")
    assert all(json.loads(answer) is not None for answer in answers if answer)


def test_a_program_with_tritonclient_runs(folder: Path, url: str) -> None:
    if not CLIENTS.is_file():
        missing(f"no clients at {CLIENTS.parent.parent}: make clients")
    (program,) = PYTHON
    (folder / "program.py").write_text(program.replace("127.0.0.1:8000", url.removeprefix("http://")))
    result = run(f"{CLIENTS} program.py", folder)
    assert result.returncode == 0, result.stdout
    assert "grey 9" in result.stdout
    assert result.stdout.endswith("(2, 256)\n")


def test_every_path_of_the_service_is_described() -> None:
    paths = create_app(Settings()).openapi()["paths"]
    outside = {path for path in paths if not path.startswith("/v2") and path != "/"}
    assert all(path in TEXT for path in outside), outside
