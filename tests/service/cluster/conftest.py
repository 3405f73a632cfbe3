"""A service of several processes that the tests of one module share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.cluster.processes import Cluster, cluster


@pytest.fixture(scope="module")
def here(artifacts: Path) -> Iterator[Cluster]:
    """Two frontends and one engine with `brightness`; whoever kills one of them finds it replaced."""
    with cluster(artifacts, "--max-images-per-request", "12", "--queue-capacity", "64") as running:
        yield running
