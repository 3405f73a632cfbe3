"""The README, followed word for word: its commands run in order, its answers are what comes out."""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from models import zoo
from tests.conftest import ROOT, SHARED, missing
from tests.project.conftest import run
from tests.project.serving import Serving, free_port, serving

BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
TRAINED = SHARED / "weights" / "resnet18.pth"
SAMPLE = ROOT / "service" / "web" / "sample.jpg"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A reader's own checkpoint: the trained ResNet-18 where it is here, else one that nobody trained."""
    path = tmp_path / "resnet18.pth"
    if TRAINED.exists():
        shutil.copy(TRAINED, path)
    else:
        torch.save(zoo.create("resnet18", seed=0).state_dict(), path)
    return path


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def reader(newcomer: dict[str, str], service_bin: Path, port: int) -> dict[str, str]:
    """A newcomer's environment; in it a free port takes the place of 8000, a small network that of ResNet-50.

    Nor does `make test` run all tests within the test: it runs a quick few.
    """
    return newcomer | {
        "PATH": f"{service_bin}{os.pathsep}{newcomer['PATH']}",
        "MAKEFLAGS": f"-- PORT={port} MODEL=resnet18",
        "RESNET_PORT": str(port),
        "RESNET_URL": f"http://127.0.0.1:{port}",
        "PYTEST_ADDOPTS": "tests/project/test_makefile.py -k make_alone",
    }


def shape(value: Any) -> Any:
    """Return the keys and types of a JSON document, with one element of each list."""
    if isinstance(value, dict):
        return {key: shape(member) for key, member in value.items()}
    return [shape(value[0])] if isinstance(value, list) else type(value)


def classify_sample(service: Serving) -> Any:
    return httpx.post(f"{service.url}/classify", content=SAMPLE.read_bytes()).json()


@pytest.mark.slow  # installs, exports and serves, command by command
def test_a_newcomer_can_follow_it(checkout: Path, reader: dict[str, str], weights: Path, port: int) -> None:
    if shutil.which("curl") is None:
        missing("curl is not installed")
    answers: dict[str, Any] = {}
    output = ""
    with ExitStack() as stack:
        for language, text in BLOCKS:
            command = text.strip().replace(":8000", f":{port}").replace("path/to/weights.pth", str(weights))
            if language == "json":
                shown, printed = json.loads(text), re.findall(r"^\{.*\}$", output, re.MULTILINE)
                assert shape(json.loads(printed[-1])) == shape(shown)
            elif re.search(r"^(make |resnet-)serve\b", command, re.MULTILINE):
                stack.close()  # a person stops one service before starting the next on the same port
                service = stack.enter_context(serving(command, checkout, port=port, env=reader))
                answers[command] = classify_sample(service)
            else:
                result = run(command, checkout, env=reader)
                assert result.returncode == 0, f"{command}\n{result.stdout}"
                output = result.stdout
    answered = [(answer["model"]["name"], answer["model"]["weights"]) for answer in answers.values()]
    assert answered == [("resnet18-untrained", "untrained"), *[("resnet18", weights.name)] * 2]
    if TRAINED.exists():
        assert_shown(list(answers.values())[1])


def assert_shown(answer: Any) -> None:
    """The README shows what the trained network answered, to within what machines differ by."""
    (shown,) = [json.loads(text) for language, text in BLOCKS if language == "json"]
    assert answer["model"] == shown["model"]
    for given, told in zip(answer["predictions"], shown["predictions"], strict=True):
        assert given == told | {"probability": pytest.approx(told["probability"], abs=1e-3)}


def test_it_promises_no_file_that_is_not_here() -> None:
    text = (ROOT / "README.md").read_text()
    for name in re.findall(r"`((?:docs|requirements|service)/[\w./-]+)`", text):
        assert (ROOT / name).exists(), name
