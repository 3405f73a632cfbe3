"""The engine, the image, and containers as an operator would run them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import missing
from tests.docker.engine import IMAGE, Engine, reason_missing
from tests.project.serving import free_port
from tests.service.artefacts import write_brightness
from tests.service.cluster.processes import until

# Nothing that a container can do without. Networks need what the engine of the tests does not set up.
HARDENED = (
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--pids-limit=256",
    "--cpus=2",
    "--memory=512m",
    "--memory-swap=512m",
    "--network=host",
    "--health-interval=1s",
)


class Container:
    """A running container.

    Attributes:
        url: Where the service in it listens.
    """

    def __init__(self, engine: Engine, image: str, *options: str, arguments: tuple[str, ...] = ()) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._engine = engine
        given = [*HARDENED, f"--env=RESNET_PORT={port}", "--env=RESNET_HOST=127.0.0.1", *options]
        self.name = engine.run("run", "--detach", *given, image, *arguments).splitlines()[-1]

    def inspect(self) -> dict[str, Any]:
        """Return all that the engine knows of it."""
        found: dict[str, Any] = json.loads(self._engine.run("inspect", self.name))[0]
        return found

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self._engine.call("logs", self.name).stdout

    @property
    def health(self) -> str:
        """As Docker sees it: starting, healthy or unhealthy."""
        health: str = self.inspect()["State"]["Health"]["Status"]
        return health

    def wait_until_healthy(self) -> None:
        """Return once Docker's own check says so."""
        try:
            until(lambda: self.health == "healthy", 60)
        except AssertionError as error:
            raise AssertionError(f"{self.inspect()['State']}\n{self.log}") from error

    def run(self, *command: str) -> str:
        """Run a command in it; return its output."""
        return self._engine.call("exec", self.name, *command).stdout

    def stop(self) -> int:
        """Stop it as `docker stop` does; return its exit code."""
        self._engine.run("stop", self.name)
        code: int = self.inspect()["State"]["ExitCode"]
        return code

    def classify(self, image: bytes) -> httpx.Response:
        """Have an image classified."""
        return httpx.post(f"{self.url}/classify", content=image, timeout=30)


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A running engine, with the stand-in base image."""
    if (reason := reason_missing()) is not None:
        missing(reason)
    with Engine() as running:
        running.make_base()
        yield running


@pytest.fixture(scope="session")
def image(engine: Engine) -> str:
    """The image of the service."""
    engine.build(IMAGE)
    return IMAGE


@pytest.fixture
def start(engine: Engine) -> Iterator[Callable[..., Container]]:
    """Starts containers, and removes them after the test."""
    started: list[Container] = []

    def begin(image: str, *options: str, arguments: tuple[str, ...] = ()) -> Container:
        started.append(Container(engine, image, *options, arguments=arguments))
        return started[-1]

    yield begin
    for container in started:
        engine.run("rm", "--force", container.name)


@pytest.fixture(scope="session")
def models(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The option that mounts the trained ResNet-18."""
    repository = tmp_path_factory.mktemp("repository")
    shutil.copytree(trained / "resnet18", repository / "resnet18")
    return f"--volume={_readable(repository)}:/models:ro"


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with `brightness`, which is tiny, readable by anybody as a repository should be."""
    repository = tmp_path_factory.mktemp("artifacts")
    write_brightness(repository)
    return _readable(repository)


def _readable(repository: Path) -> Path:
    for path in (repository, *repository.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return repository
