"""`make serve`: what it serves where there is no network, and that it does nothing twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from export.__main__ import main
from tests.conftest import ROOT
from tests.project.conftest import environment, run
from tests.project.serving import free_port, serving

SAMPLE = ROOT / "service" / "web" / "sample.jpg"
SECONDS = 30  # to start what is there already, on a machine that is busy with something else too


@pytest.fixture
def mirror() -> Iterator[tuple[str, list[str]]]:
    """A mirror of the official weights that has none: its URL, and what it was asked for."""
    asked: list[str] = []

    class Empty(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


@pytest.fixture
def artifacts(installed: Path) -> Path:
    """Its model repository, with an untrained ResNet-18 as `make serve` names it."""
    command = ["resnet18", "--weights", "untrained", "--name", "resnet18-untrained", "--quiet"]
    assert main([*command, "--output", str(installed / "artifacts")]) == 0
    return installed / "artifacts"


@pytest.mark.slow  # exports, then starts the exporter twice and the service
def test_a_second_run_without_a_network_does_nothing_twice_and_says_that_its_weights_are_untrained(
    installed: Path, artifacts: Path, newcomer: dict[str, str], mirror: tuple[str, list[str]]
) -> None:
    written = {path: path.stat().st_mtime_ns for path in artifacts.rglob("*")}
    url, asked = mirror
    port = free_port()
    env = newcomer | {"RESNET_WEIGHTS_MIRROR": url}
    with serving(f"make serve MODEL=resnet18 PORT={port}", installed, port=port, env=env) as service:
        assert service.seconds < SECONDS
        health = httpx.get(f"{service.url}/healthz").json()
        answer = httpx.post(f"{service.url}/classify", content=SAMPLE.read_bytes()).json()
    assert "pip" not in service.log
    assert "is there already" in service.log
    assert {path: path.stat().st_mtime_ns for path in artifacts.rglob("*")} == written
    # The trained weights were tried for first: once there is a network, they are what is served.
    assert [path.split("-")[0] for path in asked] == ["/resnet18"]

    assert health["model"]["weights"] == answer["model"]["weights"] == "untrained"
    assert "Going on with UNTRAINED weights" in service.log  # make
    assert "these weights are UNTRAINED" in service.log  # the service
    assert f"{service.url}/classify" in service.log
    with pytest.raises(httpx.ConnectError):  # Ctrl-C stopped all of it
        httpx.get(f"{service.url}/livez")


def test_weights_that_were_asked_for_by_name_are_not_replaced_by_untrained_ones(
    installed: Path, newcomer: dict[str, str]
) -> None:
    result = run("make serve MODEL=resnet34 WEIGHTS=IMAGENET1K_V1", installed, env=newcomer)
    assert result.returncode != 0
    assert "Three ways out" in result.stdout
    assert "UNTRAINED" not in result.stdout
    assert not list(installed.glob("artifacts/resnet34*"))


@pytest.mark.slow  # loads PyTorch for what tests/export/test_main.py asks of `main`
def test_weights_that_are_not_there_are_an_error(installed: Path) -> None:
    result = run("make serve MODEL=resnet18 WEIGHTS=no/such/file.pth", installed, env=environment())
    assert result.returncode != 0
    assert "no/such/file.pth" in result.stdout
