from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import subjects
from benchmarks.server import Server, serving
from benchmarks.subjects import Subject


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """The network that only averages pixels, with its tiny image."""
    return subjects.overhead(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="session")
def toy_server(toy: Subject) -> Iterator[Server]:
    """The real service, serving it."""
    with serving(toy.artifacts, toy.model) as server:
        yield server


@pytest.fixture(scope="session")
def missing_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder without artefacts."""
    return tmp_path_factory.mktemp("nothing")
