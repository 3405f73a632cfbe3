"""A real service for the client to ask."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.serving import Service, serving

KEY = "sixteen-characters-or-more"


@pytest.fixture(scope="session")
def service(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """With `brightness`, for who has the key."""
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(KEY + "\n")
    with serving(artifacts, "--api-keys-file", str(keys)) as service:
        yield service
