"""What the documents show beside what other tests run: commands for Docker, clusters and registries, and files.

None of those is here to be asked. So each command must be one that the shell, our own programs and the files in the
repository understand, and each file is read by the program that it is for.
"""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT, missing
from tests.deploy.manifests import resources

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = {"resnet-serve": "service", "resnet-export": "export", "resnet-classify": "service.client"}
DOCKERFILES = {"Dockerfile", "docker/export.Dockerfile"}


def blocks(language: str) -> list[pytest.ParameterSet]:
    """Return every block of a language, named by its document and how it begins."""
    return [
        pytest.param(text, id=f"{document.stem}: {text.splitlines()[0][:40]}")
        for document in DOCUMENTS
        for text in re.findall(rf"^```{language}\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL)
    ]


@functools.cache
def flags(module: str) -> set[str]:
    """Return the flags of one of our programs."""
    asked = [sys.executable, "-m", module, "--help"]
    told = subprocess.run(asked, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    return set(re.findall(r"--[a-z][a-z0-9-]+", told))


@pytest.mark.parametrize("text", blocks("sh"))
def test_a_command_is_understood(text: str) -> None:
    assert subprocess.run(["sh", "-n"], input=text, capture_output=True, text=True, check=False).stderr == ""
    for line in text.replace("\\\n", " ").splitlines():
        words = line.split("#")[0].split()
        for program, module in PROGRAMS.items():
            if program in words and "docker build" not in line:
                given = {word.split("=")[0] for word in words[words.index(program) :] if word.startswith("--")}
                assert given <= flags(module)
        for flag, folder in re.findall(r"\s(-k|kustomize|-f)\s+(\S+)", line):
            shown = folder == "animals"  # its file stands in the same document; tests/project/test_tutorial.py has it
            assert shown or (ROOT / folder).exists(), f"{flag} {folder}"
        file = next(iter(DOCKERFILES.intersection(words)), "Dockerfile")
        known = set(re.findall(r"^ARG (\w+)", (ROOT / file).read_text(), re.MULTILINE))
        assert set(re.findall(r"--build-arg (\w+)=", line)) <= known
    for patch in re.findall(r"-p '(.*?)'", text, re.DOTALL):
        assert json.loads(patch)


@pytest.mark.parametrize("text", blocks("json"))
def test_json_is_json(text: str) -> None:
    assert json.loads(text)


@pytest.mark.parametrize("text", blocks("yaml"))
def test_a_file_is_accepted_by_whom_it_is_for(text: str, tmp_path: Path) -> None:
    document = yaml.safe_load(text)
    if "scrape_configs" in document:
        if shutil.which("promtool") is None:
            missing("no promtool: Debian has it in `prometheus`")
        (tmp_path / "prometheus.yaml").write_text(text)
        check = ["promtool", "check", "config", "prometheus.yaml"]
        subprocess.run(check, cwd=tmp_path, check=True, capture_output=True)
    elif isinstance(document, dict):
        shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
        (tmp_path / "own").mkdir()
        (tmp_path / "own" / "kustomization.yaml").write_text(text)
        made = {resource["kind"]: resource for resource in resources(tmp_path / "own")}
        (container,) = made["Deployment"]["spec"]["template"]["spec"]["containers"]
        assert container["image"].startswith(document["images"][0]["newName"])
        name, _, value = document["configMapGenerator"][0]["literals"][0].partition("=")
        assert made["ConfigMap"]["data"][name] == value
    else:
        shipped = yaml.safe_load((ROOT / "deploy" / "components" / "keda" / "scaledobject.yaml").read_text())
        known = keys(shipped["spec"]["triggers"]) | {"activationThreshold"}  # what KEDA has beside what is shipped
        assert keys(document) <= known


def keys(triggers: list[dict[str, Any]]) -> set[str]:
    return {key for trigger in triggers for key in (*trigger, *trigger["metadata"])}
