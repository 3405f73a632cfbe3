"""The architecture's layers, held against the imports. What only a type checker imports does not count."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGES = ("models", "export", "service")
# Who alone knows a library: paths within service/, a folder with its slash.
KNOWN_TO = {
    ("fastapi", "fastapi_offline", "starlette"): ("api/", "app.py"),
    ("uvicorn",): ("server.py", "protocol.py", "patience.py", "cluster/frontend.py"),
    ("PIL", "simplejpeg"): ("image.py", "jpeg.py", "raster.py", "client/images.py"),
    ("onnxruntime",): ("engine/",),
    ("cuda",): ("engine/device.py", "card/resize.py"),
    ("nvidia",): ("card/codec.py",),
    ("zmq",): ("cluster/",),
    ("prometheus_client",): ("api/exposition.py",),
    ("opentelemetry",): ("tracing.py",),
    # No endpoint fetches anything: the service has nothing to fetch with. (The client is not of the service's work, and
    # of `http` it has the names of statuses.)
    ("aiohttp", "ftplib", "http", "httpx", "requests", "urllib", "urllib3"): (
        "api/problems.py",
        "patience.py",
        "client/",
    ),
}
# What an exporter may take from the service: what reads and serves artefacts.
SHARED_WITH_EXPORT = {"contract", "engine", "errors", "golden", "image", "repository", "seal"}


def imports(path: Path) -> set[str]:
    """Return the full names of the modules that a file imports when it runs; `from a import b` gives a and a.b."""
    return {name for node in running(ast.parse(path.read_text())) for name in names(node)}


def running(node: ast.AST) -> Iterator[ast.AST]:
    """Yield every node that is not under `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        yield child
        yield from running(child)


def names(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.module:
        return {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return set()


def rooms(package: str) -> dict[str, set[str]]:
    """Return module name -> the modules it imports, for a whole package."""
    found = {}
    for path in (ROOT / package).rglob("*.py"):
        module = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
        found[module] = imports(path)
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_down_only(package: str) -> None:
    """There is an order of rooms in which each imports only earlier ones: no two import each other."""
    graph = rooms(package)
    TopologicalSorter({room: below & graph.keys() for room, below in graph.items()}).prepare()


@pytest.mark.parametrize(
    ("package", "forbidden"), [("models", ("export", "service")), ("service", ("models", "export"))]
)
def test_a_package_does_not_import_its_siblings(package: str, forbidden: tuple[str, ...]) -> None:
    for room, below in rooms(package).items():
        assert {name.split(".")[0] for name in below}.isdisjoint(forbidden), room


def test_export_takes_from_the_service_only_what_reads_and_serves_artefacts() -> None:
    for room, below in rooms("export").items():
        taken = {name.split(".")[1] for name in below if name.startswith("service.")}
        assert taken <= SHARED_WITH_EXPORT, room


@pytest.mark.parametrize(("libraries", "where"), KNOWN_TO.items(), ids=lambda value: value[0])
def test_a_library_is_known_only_where_the_architecture_says(
    libraries: tuple[str, ...], where: tuple[str, ...]
) -> None:
    knowing = set()
    for path in (ROOT / "service").rglob("*.py"):
        if {name.split(".")[0] for name in imports(path)} & set(libraries):
            knowing.add(path.relative_to(ROOT / "service").as_posix())
    assert knowing, "nobody uses it"
    assert {room for room in knowing if not room.startswith(where)} == set()


def test_the_work_knows_nothing_of_http() -> None:
    """What is below `api` and `app` does not import them; only what puts the service together does."""
    for room, below in rooms("service").items():
        if room not in ("service.__main__", "service.app", "service.cluster.frontend") and ".api" not in room:
            assert not {
                name for name in below if name.startswith("service.") and name.split(".")[1] in ("api", "app")
            }, room


def test_the_service_does_not_know_its_client() -> None:
    for room, below in rooms("service").items():
        if not room.startswith("service.client"):
            assert not {name for name in below if name.startswith("service.client")}, room
