"""The lock files: complete, hashed, in step with pyproject.toml, and silent about where files come from."""

from __future__ import annotations

import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT
from tests.project.conftest import environment, run

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PARTS = PYPROJECT["project"]["optional-dependencies"] | PYPROJECT["dependency-groups"]
LOCKS = {
    "cpu": ["cpu"],
    "gpu": ["gpu"],
    "otel": ["otel"],
    "build": ["build"],
    "export": ["cpu", "export", "build", "torch"],
    "dev": ["cpu", "otel", "export", "plot", "test", "fuzz", "dev", "build", "torch"],
    "clients": ["clients"],
}
APART = {"build", "clients"}  # locks of environments that the project itself is not in
PYTHONS = ("3.11", "3.12", "3.13")
UNLOCKED = {"torch"}


def marker_environment(python: str) -> dict[str, str]:
    return {"python_version": python, "python_full_version": f"{python}.0", "extra": ""}


def entries(name: str) -> list[tuple[Requirement, list[str]]]:
    """Return each requirement of a lock file with its hashes."""
    text = (ROOT / "requirements" / f"{name}.lock").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return [(Requirement(line.split(" --hash")[0]), re.findall(r"--hash=(\S+)", line)) for line in lines]


def pinned(name: str, python: str) -> dict[str, str]:
    """Return the version that a lock holds of each package, for one Python on this kind of machine."""
    found: dict[str, str] = {}
    for requirement, _ in entries(name):
        if requirement.marker is None or requirement.marker.evaluate(marker_environment(python)):
            package = canonicalize_name(requirement.name)
            assert package not in found, f"two versions of {package} for Python {python}"
            found[package] = next(iter(requirement.specifier)).version
    return found


def declared(name: str) -> Iterator[Requirement]:
    """Yield what pyproject.toml asks of the environment that a lock file is for."""
    if name not in APART:
        yield from map(Requirement, PYPROJECT["project"]["dependencies"])
    for part in LOCKS[name]:
        yield from map(Requirement, PARTS[part])


@pytest.mark.parametrize("name", LOCKS)
def test_every_entry_is_one_exact_version_with_its_hashes(name: str) -> None:
    for requirement, hashes in entries(name):
        assert [specifier.operator for specifier in requirement.specifier] == ["=="], str(requirement)
        assert hashes, f"{requirement} has no hash"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in hashes), str(requirement)


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_index_no_path_and_no_torch(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.lock").read_text()
    assert "://" not in text
    assert not re.search(r"^\s*-(?!-hash=)", text, re.MULTILINE), "an option of pip's"
    assert " @ " not in text
    assert str(ROOT) not in text
    assert UNLOCKED.isdisjoint(canonicalize_name(requirement.name) for requirement, _ in entries(name))


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_satisfies_what_pyproject_asks_for(name: str, python: str) -> None:
    versions = pinned(name, python)
    for requirement in declared(name):
        package = canonicalize_name(requirement.name)
        if package in UNLOCKED or (requirement.marker and not requirement.marker.evaluate(marker_environment(python))):
            continue
        assert package in versions, f"{requirement} is not in {name}.lock: make lock"
        assert requirement.specifier.contains(versions[package]), f"{requirement}, locked {versions[package]}"


def test_what_torch_requires_is_locked() -> None:
    """Else pip would bring it in unhashed: the group `torch` in pyproject.toml is complete but for CUDA."""
    versions = pinned("export", f"{sys.version_info.major}.{sys.version_info.minor}")
    cuda = re.compile(r"nvidia-|cuda-|triton")  # of a CUDA build: they come with it
    for requirement in map(Requirement, metadata.requires("torch") or []):
        if cuda.match(requirement.name) or (requirement.marker and "extra" in str(requirement.marker)):
            continue
        locked = versions.get(canonicalize_name(requirement.name))
        assert locked, f"torch requires {requirement}: add it to the group `torch`"
        assert requirement.specifier.contains(locked), f"torch requires {requirement}, locked is {locked}"


@pytest.mark.parametrize("name", ["cpu", "export", "otel", "build"])
def test_one_version_of_a_package_in_all_locks(name: str) -> None:
    for python in PYTHONS:
        assert pinned(name, python).items() <= pinned("dev", python).items()


def test_this_environment_is_the_locked_one() -> None:
    """What the tests ran against is what a user gets."""
    versions = pinned("dev", f"{sys.version_info.major}.{sys.version_info.minor}")
    installed = {package: metadata.version(package) for package in versions}
    assert installed == versions, "make test installs the lock; make lock writes it"


@pytest.mark.slow  # asks the index about every package
def test_make_lock_changes_nothing_when_nothing_changed(tmp_path: Path) -> None:
    """Resolving again keeps every version and marker: no lock was edited by hand or forgotten."""
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    for file in ("pyproject.toml", "Makefile", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, tmp_path)
    result = run(f"make -o {sys.prefix}/.dev VENV={sys.prefix} lock", tmp_path, env=environment())
    assert result.returncode == 0, result.stdout
    for name in LOCKS:
        # Not the hashes: a release may gain a file for a new platform at any time.
        before, after = (
            re.findall(r"^\w[^\\\n]*", (folder / "requirements" / f"{name}.lock").read_text(), re.MULTILINE)
            for folder in (ROOT, tmp_path)
        )
        assert after == before, "run make lock"


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", ["dev", "gpu"])  # the others are parts of dev
def test_a_lock_installs_from_wheels_alone(name: str, python: str, tmp_path: Path) -> None:
    """No user needs a compiler: every version has a wheel for every Python, and its hash is in the lock."""
    options = f"--require-hashes --only-binary :all: --python-version {python} --target {tmp_path}"
    lock = ROOT / "requirements" / f"{name}.lock"
    result = run(f"{sys.prefix}/bin/uv pip install --dry-run {options} --requirement {lock}", tmp_path)
    assert result.returncode == 0, result.stdout
