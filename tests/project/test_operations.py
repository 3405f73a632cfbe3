"""docs/operations.md names every limit with its default, and only tests that there are."""

from __future__ import annotations

import re

import pytest

from service.api.body import _MAX_MEMBERS
from service.api.form import _MAX_FIELDS
from service.api.oip.request import _LARGEST_PART
from service.appointments import _LONGEST_S
from service.exif import _MAX_ENTRIES
from service.jpeg import MAX_SCANNED_PIXELS, MAX_SEGMENTS
from service.patience import MAX_HEAD_BYTES
from service.raster import _MAX_PNG_CHUNKS
from service.settings import Settings
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "operations.md").read_text()
# What bounds something, by the words that names of settings are made of.
LIMIT = re.compile(r"max_|.*_(capacity|timeout_ms|timeout_s|delay_s|delay_ms)$")
LIMITS = [name for name in Settings.model_fields if LIMIT.match(name)]


@pytest.mark.parametrize("name", LIMITS)
def test_every_limit_stands_there_with_its_default(name: str) -> None:
    flag, default = name.replace("_", "-"), Settings.model_fields[name].default
    assert f"| `--{flag}` | `{default}` |" in PAGE


def test_nothing_stands_there_that_cannot_be_set() -> None:
    flags = {name.replace("_", "-") for name in Settings.model_fields} | {"drain-delay", "shutdown-timeout"}
    assert set(re.findall(r"`--([a-z-]+)", PAGE)) <= flags


def test_what_cannot_be_set_is_as_it_says() -> None:
    assert f"| {MAX_HEAD_BYTES} bytes |" in PAGE
    assert f"| {_LARGEST_PART} bytes |" in PAGE
    assert f"| {MAX_SCANNED_PIXELS} |" in PAGE
    assert f"| {MAX_SEGMENTS}; {_MAX_PNG_CHUNKS}; {_MAX_ENTRIES} |" in PAGE
    assert f"| 1 to {_LONGEST_S:.0f} seconds |" in PAGE
    assert f"| {_MAX_FIELDS} |" in PAGE
    assert _MAX_FIELDS == _MAX_MEMBERS


def test_every_test_that_shows_something_is_there() -> None:
    shown = set(re.findall(r"`(tests/[\w/.]+)`", PAGE))
    assert shown
    assert not [path for path in sorted(shown) if not (ROOT / path).is_file()]


@pytest.mark.parametrize(
    "row", [line for line in PAGE.splitlines() if line.startswith("| `--")], ids=lambda row: row[:40]
)
def test_every_limit_is_shown_by_a_test(row: str) -> None:
    assert re.search(r"`tests/[\w/.]+` \|$", row)
