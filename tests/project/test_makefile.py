"""The Makefile's own behaviour: what it says, what it refuses, what it does once and not again."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.project.conftest import copy_checkout, run

MAKEFILE = (ROOT / "Makefile").read_text()
# Runs this Python under another version's name, so that the Makefile's own check meets an old one.
OLD_PYTHON = f"""#!/bin/sh
[ "$1" = -c ] && exec {sys.executable} -c 'import sys; sys.version_info = (3, 9, 2); exec(sys.argv[1])' "$2"
mkdir -p .venv/bin && touch .venv/bin/python
"""
# Fails half-way, as a Debian without python3-venv does.
HALF_A_PYTHON = f"""#!/bin/sh
[ "$1" = -m ] || exec {sys.executable} "$@"
mkdir -p "$3/bin" && touch "$3/bin/python" && exit 1
"""


def executable(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of the checkout with no environment."""
    return copy_checkout(tmp_path / "clone")


def test_make_alone_lists_every_command_with_what_it_does() -> None:
    result = run("make", ROOT)
    assert result.returncode == 0
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    for command in phony.split():
        assert re.search(rf"^  make {command} +\w", result.stdout, re.MULTILINE), f"make {command} is not explained"


def test_an_old_python_is_refused_with_what_to_do_instead(clone: Path) -> None:
    python = executable(clone / "old-python", OLD_PYTHON)
    result = run(f"make test PYTHON={python}", clone)
    assert result.returncode == 2
    assert f'Python 3.11 or newer is needed; "{python}" is not' in result.stdout
    assert "make test PYTHON=" in result.stdout
    assert not (clone / ".venv").exists()


def test_a_python_that_is_not_there_is_refused_the_same_way(clone: Path) -> None:
    result = run("make test PYTHON=python3.999", clone)
    assert result.returncode == 2
    assert "Python 3.11 or newer is needed" in result.stdout


def test_half_an_environment_is_not_taken_for_one(clone: Path) -> None:
    python = executable(clone / "half-a-python", HALF_A_PYTHON)
    assert run(f"make test PYTHON={python}", clone).returncode == 2
    assert not (clone / ".venv").exists()


@pytest.mark.slow  # makes an environment
def test_make_makes_the_environment_with_the_python_named(clone: Path) -> None:
    result = run(f"make .venv/bin/python PYTHON={sys.executable}", clone)
    assert result.returncode == 0, result.stdout
    version = run(".venv/bin/python -c 'import sys; print(sys.version)'", clone).stdout
    assert version.strip() == sys.version


@pytest.mark.slow  # installs twice
def test_what_was_installed_is_installed_again_only_after_a_change(checkout: Path) -> None:
    first = run("make .venv/.export", checkout)
    assert first.returncode == 0, first.stdout
    assert "up to date" in run("make .venv/.export", checkout).stdout
    os.utime(checkout / "requirements" / "export.lock")
    again = run("make .venv/.export", checkout)
    assert again.returncode == 0, again.stdout
    assert "--require-hashes" in again.stdout


def test_torch_is_installed_in_the_version_that_pyproject_pins_from_where_the_user_says() -> None:
    result = run("make --dry-run -W requirements/export.lock .venv/.export TORCH_PIP_ARGS='--index-url URL'", ROOT)
    assert re.search(r"pip .*install --index-url URL torch==2\.13\.0$", result.stdout, re.MULTILINE), result.stdout


def test_what_is_served_unless_something_else_is_said_is_a_resnet50_on_port_8000_of_this_machine() -> None:
    """And with the best official weights there are: none are named."""
    result = run("make --dry-run serve", ROOT)
    assert "resnet-export resnet50  --if-missing --name" in result.stdout
    assert "--weights" not in result.stdout.split("||")[0]
    assert "--host 127.0.0.1 --port 8000" in result.stdout


def test_clean_keeps_the_artefacts(clone: Path) -> None:
    artefact = clone / "artifacts" / "resnet50" / "1" / "model.onnx"
    for file in (artefact, clone / ".venv" / "bin" / "python", clone / ".ruff_cache" / "x"):
        file.parent.mkdir(parents=True)
        file.touch()
    assert run("make clean", clone).returncode == 0
    assert artefact.exists()
    assert not (clone / ".venv").exists()
    assert not (clone / ".ruff_cache").exists()


def test_ci_goes_through_the_gate_and_forbids_skips_for_missing_pieces() -> None:
    """And calls the README's test command; the last line of all is pytest's, since make is silent."""
    script = (ROOT / ".ci" / "run").read_text()
    assert "export RESNET_TEST_REQUIRE_ALL=1" in script
    assert re.search("^make --silent fuzz ", script, re.MULTILINE)
    assert re.search(r"^exec make --silent check test\b.*$", script.splitlines()[-1])
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert run("make --dry-run check test", ROOT).stdout.count("-m pytest") == 1
