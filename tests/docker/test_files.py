"""What Docker is given to read: Dockerfiles, compose files and what these mount; no engine needed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service.settings import Settings
from tests.conftest import ROOT, missing

DOCKER = ROOT / "docker"
DOCKERFILES = ("Dockerfile", "docker/export.Dockerfile")
COMPOSE = ("compose.yaml", "compose.gpu.yaml")


def run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("file", DOCKERFILES)
def test_hadolint_finds_nothing(file: str) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    linted = run(str(hadolint), file)
    assert (linted.returncode, linted.stdout) == (0, ""), linted.stderr


def compose() -> list[str]:
    """Return the command: the plugin of Docker's client, or Debian's older program."""
    for command in (["docker", "compose"], ["/usr/bin/docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and run(*command, "version").returncode == 0:
            return command
    missing("no docker compose: Debian has it in `docker-compose`")
    return []


@pytest.mark.parametrize("files", [COMPOSE[:1], COMPOSE], ids=["cpu", "gpu"])
def test_compose_accepts_its_files(files: tuple[str, ...], tmp_path: Path) -> None:
    given = [part for file in files for part in ("-f", file)]
    shutil.copy(DOCKER / ".env.example", tmp_path / ".env")
    for environment in ([], ["--env-file", str(tmp_path / ".env")]):
        checked = run(*compose(), *environment, *given, "config", "-q", cwd=DOCKER)
        assert checked.returncode == 0, checked.stderr


def test_the_example_of_an_env_file_names_every_variable_with_its_default() -> None:
    text = "".join((DOCKER / file).read_text() for file in COMPOSE)
    used = dict(reversed(re.findall(r"\$\{(\w+):-([^}]*)\}", text)))  # of two defaults the first file's
    assert not re.search(r"\$\{\w+\}|\$\w", text), "a variable without a default"
    lines = (DOCKER / ".env.example").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert given == {"COMPOSE_PROJECT_NAME": "resnet-serve"} | used
    for name in given:
        assert re.search(rf"^#.*\n(?:[^#\n].*\n)*{name}=", "\n".join(lines), re.MULTILINE), f"{name} is not explained"


def test_every_variable_of_the_service_is_a_setting() -> None:
    text = "".join((ROOT / file).read_text() for file in (*DOCKERFILES, *(f"docker/{file}" for file in COMPOSE)))
    names = set(re.findall(r"\bRESNET_([A-Z_]+)\b", text))
    assert len(names) > 5
    assert {name.lower() for name in names} <= set(Settings.model_fields)


def test_all_that_is_mounted_exists() -> None:
    mounts = re.findall(r"^\s+- (\.[^:$]+):(/[^:]+):ro$", (DOCKER / "compose.yaml").read_text(), re.MULTILINE)
    assert len(mounts) >= 5
    for source, _ in mounts:
        assert (DOCKER / source).exists(), source
    where = dict(mounts)
    assert where["../deploy/monitoring/dashboard.json"].startswith("/etc/grafana/dashboards/")
    assert "path: /etc/grafana/dashboards" in (DOCKER / "grafana/dashboards/resnet-serve.yaml").read_text()


def test_prometheus_accepts_its_configuration(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        missing("no promtool: Debian has it in `prometheus`")
    shutil.copy(DOCKER / "prometheus" / "prometheus.yaml", tmp_path)
    shutil.copy(ROOT / "deploy" / "monitoring" / "rules.yaml", tmp_path)
    checked = run("promtool", "check", "config", "prometheus.yaml", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "rules found" in checked.stdout


@pytest.mark.parametrize("ready", [True, False])
def test_the_health_check_is_readiness(ready: bool, tmp_path: Path) -> None:
    import os
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if ready and self.path == "/readyz" else 503)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        environment = {**os.environ, "RESNET_PORT": "1", "RESNET_MANAGEMENT_PORT": str(server.server_port)}
        check = [sys.executable, str(DOCKER / "healthcheck.py")]
        asked = subprocess.run(check, env=environment, capture_output=True, timeout=20, check=False)
    assert asked.returncode == (0 if ready else 1)
