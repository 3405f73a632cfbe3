"""A rolling update of the real service behind a real nginx loses no request; without the drain it would."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks import rolling, toy
from tests.conftest import ROOT, missing

SAMPLE = ROOT / "service" / "web" / "sample.jpg"


@pytest.fixture(autouse=True)
def _nginx() -> None:
    try:
        rolling.nginx()
    except RuntimeError as error:
        missing(str(error))


def two_versions(repository: Path, name: str) -> tuple[str, str]:
    """Add a version 2 of what is there as version 1; return both by name."""
    shutil.copytree(repository / name / "1", repository / name / "2")
    return f"{name}:1", f"{name}:2"


@pytest.mark.slow  # four starts of a trained network
def test_replicas_are_replaced_under_load_and_no_request_is_lost(trained: Path, shared: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "resnet18", tmp_path / "resnet18")
    photos = [path.read_bytes() for path in sorted((shared / "images").glob("*.JPEG"))[:40]]
    result = rolling.roll(two_versions(tmp_path, "resnet18"), tmp_path, photos, rolling.shipped())
    assert result["lost"] == 0, result
    assert result["exit_codes"] == [0, 0]
    assert (result["first_version"], result["last_versions"]) == ("1", ["2"])
    assert result["requests"] > 100


@pytest.mark.slow  # starts servers one after the other
def test_without_a_drain_requests_would_be_lost(tmp_path: Path) -> None:
    """As long as nginx sends requests to a replica that has ended; so the test above can fail."""
    toy.write(tmp_path)
    settings = rolling.shipped() | {"RESNET_DRAIN_DELAY_S": "0"}
    models = two_versions(tmp_path, toy.NAME)
    result = rolling.roll(models, tmp_path, [SAMPLE.read_bytes()], settings, replicas=1, clients=2, notice_s=0.5)
    outcomes = result["outcomes"]
    assert isinstance(outcomes, dict)
    assert outcomes.keys() == {"200", "502"}, "answered, until nginx found nobody"
    assert result["lost"] == outcomes["502"]


def test_the_settings_are_those_that_are_deployed() -> None:
    assert rolling.shipped()["RESNET_DRAIN_DELAY_S"] == "5"
    assert not {"RESNET_PORT", "RESNET_HOST"} & rolling.shipped().keys()
