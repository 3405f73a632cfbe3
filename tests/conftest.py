"""What several test packages share: where the real weights and photos are, and what a missing piece means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Real trained weights and photos, for tests only. RESNET_TEST_SHARED says where else they are.
SHARED = Path(os.environ.get("RESNET_TEST_SHARED", ROOT.parent / "shared"))


def missing(reason: str) -> None:
    """Skip the calling test, since a piece it needs is not here; under RESNET_TEST_REQUIRE_ALL=1, fail it."""
    if os.environ.get("RESNET_TEST_REQUIRE_ALL") == "1":
        pytest.fail(f"RESNET_TEST_REQUIRE_ALL=1, but {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real weights (`weights/`) and photos (`images/`, `images/labels.csv`)."""
    if not (SHARED / "images" / "labels.csv").is_file():
        missing(f"no trained weights and photos at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def trained(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with the trained `resnet18` and `resnet50`, exported once, by the command line.

    Of the second it is told nothing but the file.
    """
    from export.__main__ import main  # here, so that tests of the service alone need no torch

    repository = tmp_path_factory.mktemp("trained")
    for architecture, file in (("resnet18", "resnet18.pth"), ("auto", "resnet50.safetensors")):
        weights = str(shared / "weights" / file)
        assert main([architecture, "--weights", weights, "--output", str(repository), "--quiet"]) == 0
    return repository
