"""The documents against what they describe."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from service import errors, families
from service.errors import ServiceError
from service.settings import Settings
from tests.conftest import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def script(name: str) -> ModuleType:
    """Load one of the scripts in docs/."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_setting_is_documented_as_the_code_has_it() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    assert text == script("configuration").page(text), "run: .venv/bin/python docs/configuration.py"
    for name in Settings.model_fields:
        assert f"`RESNET_{name.upper()}`" in text


def test_every_metric_is_documented_as_the_code_has_it() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text()
    assert text == script("metrics").page(text), "run: .venv/bin/python docs/metrics.py"


def test_every_outcome_is_documented_with_its_status() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d.*) \|$", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE)
    documented = {(reason, int(status)) for reason, text in rows for status in re.findall(r"\b\d{3}\b", text)}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ServiceError)]
    refusals = {(reason, status) for status, reason in families.REFUSALS.items()}
    assert documented == {(kind.reason, kind.status) for kind in kinds} | refusals


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_within_the_project_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), f"{document.name} links to {target}"


def house() -> set[str]:
    """Return the paths drawn in the architecture's house: folders at the margin, what is in them indented."""
    text = (ROOT / "docs" / "architecture.md").read_text().split("## The house")[1]
    drawn, folder = set(), ""
    for line in text.split("```")[1].splitlines()[1:]:
        name = line.split()[0]
        folder = folder if line.startswith(" ") else name
        drawn.add(folder if name == folder else folder + name)
    return drawn


def test_everything_drawn_in_the_house_is_there() -> None:
    assert [path for path in sorted(house()) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("package", ["models", "export", "service"])
def test_every_room_is_drawn_in_the_house(package: str) -> None:
    """A room nobody is told of is not found again."""
    rooms = {path.relative_to(ROOT).as_posix() for path in (ROOT / package).glob("*.py")} - {f"{package}/__init__.py"}
    rooms |= {f"{path.parent.relative_to(ROOT).as_posix()}/" for path in (ROOT / package).glob("*/*.py")}
    assert rooms - house() == set(), "docs/architecture.md"


def test_the_sample_is_what_its_script_draws() -> None:
    """To within what encoders differ by: nobody's photograph was put in its place."""
    drawn = np.asarray(script("sample").light(), dtype=np.int16)
    shipped = np.asarray(Image.open(ROOT / "service" / "web" / "sample.jpg").convert("RGB"), dtype=np.int16)
    assert np.abs(drawn - shipped).mean() < 2.0
