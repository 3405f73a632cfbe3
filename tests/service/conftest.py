"""What the service's tests share: tiny artefacts, and the real server with each of its shapes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.artefacts import write_brightness
from tests.service.serving import SHAPES, Service, serving

# Small enough to go beyond each in milliseconds.
LIMITS = {
    "max_body_bytes": 300_000,
    "max_image_pixels": 1_000_000,
    "max_images_per_request": 12,
    "max_batch_size": 4,
    "queue_capacity": 64,
}


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with `brightness`, version 3."""
    repository = tmp_path_factory.mktemp("artifacts")
    write_brightness(repository, version=3)
    return repository


@pytest.fixture(scope="session", params=SHAPES.values(), ids=SHAPES)
def server(request: pytest.FixtureRequest, artifacts: Path) -> Iterator[Service]:
    """The real server with `brightness` and `LIMITS`, once for each shape."""
    limits = [f"--{name.replace('_', '-')}={value}" for name, value in LIMITS.items()]
    with serving(artifacts, *limits, *request.param) as service:
        yield service


@pytest.fixture(scope="session")
def url(server: Service) -> str:
    """Where the real server listens."""
    return server.url
