"""A copy of the checkout to run the project's own commands in, and an environment with the service alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conftest import ROOT

NOT_IN_A_CLONE = shutil.ignore_patterns(
    ".git", ".venv", ".gpu", "artifacts", "build", "dist", "__pycache__", ".*_cache", ".hypothesis"
)
# This very test may run under `make -s test ARGS=…`: an inner make starts afresh.
OF_THE_OUTER_MAKE = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "GNUMAKEFLAGS", "PYTEST_ADDOPTS")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Official weights are refused at once, as on a machine without a network, wherever the tests run.
NO_WEIGHTS = {"RESNET_WEIGHTS_MIRROR": "http://127.0.0.1:9"}


def environment(**changes: str) -> dict[str, str]:
    """Return a newcomer's environment: nothing of the outer make's, pytest's or the service's, plus `changes`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in OF_THE_OUTER_MAKE and not name.startswith("RESNET_")
    }
    return kept | NO_WEIGHTS | changes


@pytest.fixture(scope="session")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of somebody who never downloaded any weights, and cannot now."""
    return environment(TORCH_HOME=str(tmp_path_factory.mktemp("torch")))


def run(
    command: str, cwd: Path, *, env: Mapping[str, str] | None = None, timeout_s: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run a shell command to its end; its output, both streams together, is in `stdout`."""
    return subprocess.run(
        ["sh", "-c", command],
        cwd=cwd,
        env=dict(env or environment()),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def copy_checkout(target: Path) -> Path:
    """Copy what a clone has to `target`."""
    shutil.copytree(ROOT, target, ignore=NOT_IN_A_CLONE)
    return target


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout whose `.venv` borrows this environment's packages, so that pip finds them there.

    Everything else happens for real: `make` runs the Makefile's own pip commands, and they install the copy.
    """
    copy = copy_checkout(tmp_path_factory.mktemp("house") / "resnet")
    venv.create(copy / ".venv", with_pip=True)
    borrow_packages(copy)
    return copy


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout in which `make .venv/.export` has just been run, as far as make and its commands can see.

    Making an environment and pip's going through the lock take a quarter of a minute, and have slow tests of their own.
    """
    copy = copy_checkout(tmp_path_factory.mktemp("installed") / "resnet")
    venv.create(copy / ".venv")
    borrow_packages(copy, copy)
    for name, target in PROJECT["scripts"].items():
        module, _, function = target.partition(":")
        script = copy / ".venv" / "bin" / name
        script.write_text(
            f"#!{copy}/.venv/bin/python\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n"
        )
        script.chmod(0o755)
    (copy / ".venv" / ".export").touch()
    return copy


def borrow_packages(copy: Path, *more: Path) -> None:
    """Let the `.venv` of a copy find what is installed here, and what is in `more`."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    # A path in a .pth file is searched, but the .pth files there are not read: the outer editable install's.
    here = [path for path in sys.path if Path(path).name == "site-packages"]
    borrowed = copy / ".venv" / "lib" / version / "site-packages" / "borrowed.pth"
    borrowed.write_text("".join(f"{path}\n" for path in [*more, *here]))


@pytest.fixture(scope="session")
def service_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a bare environment with the service alone: the lock first, then the project, `.[cpu]`."""
    home = tmp_path_factory.mktemp("service")
    copy = copy_checkout(home / "resnet")
    venv.create(home / "venv", with_pip=True)
    python = home / "venv" / "bin" / "python"
    for arguments in ("--require-hashes --requirement requirements/cpu.lock", "'.[cpu]'"):
        result = run(f"{python} -m pip install {arguments}", copy)
        assert result.returncode == 0, result.stdout
    # The lock had everything: the second command had nothing to fetch.
    (installed,) = [line for line in result.stdout.splitlines() if line.startswith("Successfully installed")]
    assert installed.split()[2:] == [f"resnet-serve-{project_version()}"]
    return python.parent


def project_version() -> str:
    """Return the version that pyproject.toml states."""
    version: str = PROJECT["version"]
    return version
