"""What gets built and installed: a complete wheel, and a service that needs no PyTorch."""

from __future__ import annotations

import ast
import re
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT
from tests.project.conftest import PROJECT, copy_checkout, environment, run
from tests.project.serving import free_port, serving
from tests.service.artefacts import write_brightness

SAMPLE = ROOT / "service" / "web" / "sample.jpg"
PACKAGES = ("models", "export", "service")
# Not installed here: of the extra gpu's cuda-bindings, and TensorRT, which is for who runs the service to see to.
ONLY_ON_A_CARD = {"cuda", "tensorrt"}
IMPORT_ALL = """
import importlib, pkgutil, sys
import service
for module in pkgutil.walk_packages(service.__path__, "service."):
    importlib.import_module(module.name)
print(*sorted(sys.modules))
"""


@pytest.fixture(scope="session")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, to build from."""
    return copy_checkout(tmp_path_factory.mktemp("copy") / "resnet")


@pytest.fixture(scope="session")
def wheel(copy: Path, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of the files in the project's wheel."""
    target = tmp_path_factory.mktemp("wheel")
    result = run(f"{sys.executable} -m pip wheel --no-deps --no-build-isolation -w {target} .", copy)
    assert result.returncode == 0, result.stdout
    (file,) = target.iterdir()
    with zipfile.ZipFile(file) as archive:
        return set(archive.namelist())


@pytest.mark.parametrize("package", PACKAGES)
def test_the_wheel_has_every_file_of_a_package(wheel: set[str], copy: Path, package: str) -> None:
    """Code, and what is not code: `py.typed`, the table of classes, the page."""
    files = {
        path.relative_to(copy).as_posix()
        for path in (copy / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert f"{package}/py.typed" in files
    assert {name for name in wheel if name.startswith(f"{package}/")} == files


def test_the_wheel_has_nothing_else(wheel: set[str]) -> None:
    tops = {name.split("/")[0] for name in wheel}
    assert tops == {*PACKAGES, f"resnet_serve-{PROJECT['version']}.dist-info"}


def test_importing_the_whole_service_loads_neither_torch_nor_its_siblings() -> None:
    """Here all of them could be imported: it is the code that must not."""
    result = run(f"{sys.executable} -c '{IMPORT_ALL}'", ROOT)
    assert result.returncode == 0, result.stdout
    loaded = set(result.stdout.split())
    assert "service.errors" in loaded
    assert loaded.isdisjoint({"torch", "onnx", "models", "export"})


@pytest.mark.slow  # makes an environment of its own
def test_the_service_installs_and_imports_where_there_is_no_torch(service_bin: Path, tmp_path: Path) -> None:
    result = run(f"{service_bin}/python -c '{IMPORT_ALL}'", tmp_path)
    assert result.returncode == 0, result.stdout
    assert run(f"{service_bin}/python -c 'import torch'", tmp_path).returncode != 0
    assert run(f"{service_bin}/python -m pip check", tmp_path).returncode == 0


@pytest.mark.slow  # makes an environment of its own
def test_the_installed_service_shows_its_help(service_bin: Path, tmp_path: Path) -> None:
    result = run(f"{service_bin}/resnet-serve --help", tmp_path)
    assert result.returncode == 0, result.stdout
    assert "--artifacts" in result.stdout


def test_serving_a_request_loads_neither_torch_nor_its_siblings(tmp_path: Path) -> None:
    write_brightness(tmp_path)
    port = free_port()
    command = f"exec {sys.executable} -X importtime -m service --artifacts {tmp_path} --port {port}"
    with serving(command, tmp_path, port=port, env=environment(PYTHONPATH=str(ROOT))) as service:
        answer = httpx.post(f"{service.url}/classify", content=SAMPLE.read_bytes())
        assert answer.status_code == 200, answer.text
    loaded = set(re.findall(r"^import time: .*\| +(\S+)$", service.log, re.MULTILINE))
    assert {"service.engine", "onnxruntime"} <= loaded
    assert loaded.isdisjoint({"torch", "onnx", "models", "export"})


@pytest.mark.parametrize(
    ("package", "extras"),
    [("service", ["cpu", "gpu", "otel"]), ("models", ["export", "plot"]), ("export", ["cpu", "export"])],
)
def test_a_package_imports_nothing_that_is_not_declared(package: str, extras: list[str]) -> None:
    """What is here only because something else requires it may go with the other's next version."""
    requirements = PROJECT["dependencies"] + [r for e in extras for r in PROJECT["optional-dependencies"][e]]
    declared = {canonicalize_name(Requirement(requirement).name) for requirement in requirements}
    distributions = metadata.packages_distributions()
    for path in (ROOT / package).rglob("*.py"):
        for name in third_party(path) - ONLY_ON_A_CARD:
            owners = {canonicalize_name(owner) for owner in distributions.get(name, [])}
            assert owners & declared, f"{path.relative_to(ROOT)} imports {name}, of {owners or 'nothing here'}"


def third_party(path: Path) -> set[str]:
    """Return the top-level names a file imports that are neither the standard library's nor the project's."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module]
        found |= {name.split(".")[0] for name in names}
    return found - sys.stdlib_module_names - set(PACKAGES)
