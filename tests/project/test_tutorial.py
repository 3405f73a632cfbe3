"""docs/tutorial.md, followed word for word, with a network that knows twenty animals and photos of them."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import torch
import yaml

from models.labels import imagenet_labels
from tests.conftest import ROOT
from tests.deploy.manifests import resources
from tests.project.conftest import environment, run
from tests.project.serving import free_port, serving

BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / "docs" / "tutorial.md").read_text(), re.MULTILINE | re.DOTALL)
CLASSES = 20
# Where a cluster or a registry would be needed, what is asked of it is looked at instead.
ELSEWHERE = ("docker ", "kubectl ")


@pytest.fixture
def reader(shared: Path, tmp_path: Path) -> Path:
    """Where a reader is: a checkpoint with as many classes, their names, and a photo of each."""
    with (shared / "images" / "labels.csv").open() as table:
        rows = list(csv.DictReader(table))[:CLASSES]
    chosen = [int(row["class_index"]) for row in rows]
    labels = [imagenet_labels()[index].label for index in chosen]
    weights = torch.load(shared / "weights" / "resnet18.pth", weights_only=True)
    # Of a thousand rows those of the animals: a network that tells just these apart.
    weights |= {name: weights[name][chosen] for name in ("fc.weight", "fc.bias")}
    torch.save(weights, tmp_path / "animals.pth")
    (tmp_path / "animals.txt").write_text("".join(f"{label}\n" for label in labels))
    for row, label in zip(rows, labels, strict=True):
        folder = tmp_path / "photos" / label.replace(" ", "_")
        folder.mkdir(parents=True)
        shutil.copy(shared / "images" / row["file"], folder / "1.jpg")
    return tmp_path


@pytest.mark.slow  # exports a network, and starts five programs that load PyTorch or ONNX Runtime
def test_a_reader_can_follow_it(reader: Path) -> None:
    port = free_port()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = environment(PATH=path, RESNET_PORT=str(port), PYTHONPATH=str(ROOT))
    output = ""
    with ExitStack() as stack:
        for language, text in BLOCKS:
            block = text.strip().replace(":8000", f":{port}")
            if language == "text":
                assert_shown(block, output)
            elif language == "json":
                assert_answered(json.loads(block), json.loads(output))
            elif language == "python":
                (reader / "program.py").write_text(block)
                result = run(f"{sys.executable} program.py", reader, env=env)
                assert result.stdout == f"{CLASSES} of {CLASSES} photos\n"
            elif block.startswith("resnet-serve"):
                stack.enter_context(serving(block, reader, port=port, env=env))
            elif language == "sh" and not block.startswith(ELSEWHERE):
                result = run(f"set -e\n{block.replace('curl ', 'curl --silent --show-error --fail ')}", reader, env=env)
                assert result.returncode == 0, f"{block}\n{result.stdout}"
                output = result.stdout
        stats = httpx.get(f"http://127.0.0.1:{port}/v2/models/animals/stats").json()["model_stats"]
    assert [each["inference_stats"]["success"]["count"] for each in stats] == [1 + CLASSES]


def assert_shown(shown: str, printed: str) -> None:
    """What is printed is what is shown, but for hashes, sizes and durations."""

    def settled(text: str) -> list[str]:
        return [
            re.sub(r"[0-9a-f]{8}…|[\d.]+(e-\d+)?( s| MB| at most)|PyTorch [\d.e-]+", "#", line)
            for line in text.splitlines()
        ]

    assert settled(printed) == settled(shown)


def assert_answered(shown: dict[str, object], answer: dict[str, object]) -> None:
    assert answer["model"] == shown["model"]
    (given,), (told,) = answer["predictions"], shown["predictions"]  # type: ignore[misc]
    assert given == told | {"probability": pytest.approx(told["probability"], abs=1e-3)}


def test_what_is_deployed_is_what_it_says(tmp_path: Path) -> None:
    """Every command for Docker can be given, and the overlay is one."""
    (overlay,) = (text for language, text in BLOCKS if language == "yaml")
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    (tmp_path / "animals").mkdir()
    (tmp_path / "animals" / "kustomization.yaml").write_text(overlay)
    made = {resource["kind"]: resource for resource in resources(tmp_path / "animals")}
    assert made["ConfigMap"]["data"]["RESNET_MODEL"] == "animals"
    (container,) = made["Deployment"]["spec"]["template"]["spec"]["containers"]
    image = f"{yaml.safe_load(overlay)['images'][0]['newName']}:1"
    assert container["image"] == image
    commands = [line for _, text in BLOCKS for line in text.splitlines() if line.startswith("docker ")]
    assert all(image in line for line in commands)
    arguments = set(re.findall(r"^ARG (\w+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    assert {name for line in commands for name in re.findall(r"--build-arg (\w+)=", line)} <= arguments
