"""What the tests of faults share: an artefact with traps, and each shape of the service."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.traps import write_traps
from tests.service.serving import MAINLY_SEVERAL


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the artefact `traps`."""
    folder = tmp_path_factory.mktemp("traps")
    write_traps(folder)
    return folder


@pytest.fixture(scope="module", params=MAINLY_SEVERAL)
def shape(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The arguments for each shape of the service."""
    arguments: tuple[str, ...] = request.param
    return arguments
