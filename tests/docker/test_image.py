"""The image, built by a real engine and run as hardened as an operator would."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import httpx
import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.docker.conftest import Container
from tests.docker.engine import Engine
from tests.service.cluster.processes import answered, grey, until

pytestmark = pytest.mark.slow  # builds the image, and starts it with every restriction

Start = Callable[..., Container]


def test_it_is_small_has_no_torch_and_runs_as_nobody_in_particular(engine: Engine, image: str) -> None:
    about = json.loads(engine.run("image", "inspect", image))[0]
    assert about["Size"] <= 450e6
    config = about["Config"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", config["User"]), "Kubernetes' runAsNonRoot wants numbers"
    assert config["Entrypoint"] == ["resnet-serve"], "no shell between: SIGTERM reaches the server"
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert config["Labels"]["org.opencontainers.image.title"] == "resnet-serve"
    listed = engine.run(
        "run", "--rm", "--network=none", "--entrypoint=ls", image, "/opt/resnet/lib/python3.11/site-packages", "/models"
    )
    installed = {name.split("-")[0].lower() for name in listed.split()}
    assert {"onnxruntime", "numpy", "service", "opentelemetry"} <= installed
    assert not {"torch", "onnx", "matplotlib", "pytest", "pip"} & installed
    assert "model.onnx" not in listed


def test_it_holds_nothing_of_the_machine_that_built_it(engine: Engine, image: str) -> None:
    """No variable but those that the Dockerfile sets, no settings of pip's, no path of the checkout."""
    config = json.loads(engine.run("image", "inspect", image))[0]["Config"]
    set_by_us = re.findall(r"^(?:ENV|   ) ([A-Z_]+)=", (ROOT / "Dockerfile").read_text().rpartition("\nFROM")[2], re.M)
    assert {variable.split("=")[0] for variable in config["Env"]} == set(set_by_us)
    assert str(ROOT) not in engine.run("history", "--no-trunc", "--format={{.CreatedBy}}", image)
    search = (
        "find /opt/resnet -name 'pip.*' -o -name '*.pth'; grep -rl '://' /opt/resnet --include direct_url.json; true"
    )
    found = engine.run("run", "--rm", "--network=none", "--entrypoint=sh", image, "-c", search).split()
    assert [path for path in found if "resnet_serve-" not in path] == []


def test_a_photo_is_classified_and_stopping_loses_nothing(image: str, models: str, shared: Path, start: Start) -> None:
    container = start(image, models, "--env=RESNET_DRAIN_DELAY_S=1")
    container.wait_until_healthy()
    status = container.run("cat", "/proc/1/status")
    assert re.search(r"^Uid:\s+10001\s+10001", status, re.MULTILINE)
    assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
    assert "Read-only file system" in container.run("touch", "/opt/anything")
    rows = list(csv.DictReader((shared / "images" / "labels.csv").read_text().splitlines()))[:20]
    right = 0
    for row in rows:
        name, index = list(row.values())[:2]
        photo = (shared / "images" / name).read_bytes()
        right += container.classify(photo).json()["predictions"][0]["index"] == int(index)
    assert right >= 12, "74 % of all the photos are recognised"
    assert lost_while_stopping(container, photo) == {200: pytest.approx(200, abs=190)}


def lost_while_stopping(container: Container, photo: bytes) -> dict[int | str, int]:
    """Stop it while clients ask it for as long as it is ready; return their answers by status."""
    stopped = Event()
    answers: Counter[int | str] = Counter()

    def ask() -> None:
        with httpx.Client(base_url=container.url, timeout=30) as client:
            while not stopped.is_set():
                try:
                    if client.get("/readyz").status_code != 200:
                        return
                except httpx.TransportError:
                    return
                try:
                    answers[client.post("/classify", content=photo).status_code] += 1
                except httpx.TransportError as error:
                    answers[repr(error)] += 1

    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(ask) for _ in range(8)]
        until(lambda: answers.total() >= 10, 20)
        assert container.stop() == 0, container.log
        stopped.set()
        for each in asking:
            each.result()
    assert answers.total() > 10
    return dict(answers)


def test_it_starts_again_after_it_was_killed_for_its_memory(image: str, artifacts: Path, start: Start) -> None:
    """By images that are within the limit on pixels, but together beyond the container's memory."""
    limits = ("--memory=224m", "--memory-swap=224m", "--restart=always")
    container = start(image, f"--volume={artifacts}:/models:ro", *limits)
    container.wait_until_healthy()
    assert answered(container.classify(grey(7))) == "grey 7"
    out = io.BytesIO()
    Image.new("RGB", (8000, 8000)).save(out, "PNG", compress_level=1)

    def send(_: int) -> None:
        with contextlib.suppress(httpx.TransportError):  # as it is killed
            container.classify(out.getvalue())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(send, range(4)))
    until(lambda: container.inspect()["RestartCount"] >= 1, 30)
    until(lambda: container.inspect()["State"]["Running"], 30)
    container.wait_until_healthy()
    assert answered(container.classify(grey(9))) == "grey 9"


def test_a_model_can_be_baked_in_and_several_processes_need_no_more_rights(
    engine: Engine, image: str, artifacts: Path, tmp_path: Path, start: Start
) -> None:
    context = tmp_path / "context"
    for name in ("Dockerfile", "pyproject.toml", "hatch_build.py", "README.md", "LICENSE", ".dockerignore"):
        context.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, context)
    for name in ("requirements", "models", "export", "service", "docker"):
        shutil.copytree(ROOT / name, context / name)
    shutil.copytree(artifacts, context / "artifacts")
    engine.build("resnet-serve:baked", context, {"ARTIFACTS": "artifacts"})
    container = start("resnet-serve:baked", "--shm-size=256m", "--env=RESNET_MODEL=", arguments=("--frontends=2",))
    container.wait_until_healthy()
    assert answered(container.classify(grey(3))) == "grey 3"
    time_s = time.monotonic()
    assert container.stop() == 0, container.log
    assert time.monotonic() - time_s < 9, "before Docker would have killed it"
