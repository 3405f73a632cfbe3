"""What several test packages share: the trained networks, what a missing piece means, and which tests are slow."""

from __future__ import annotations

import functools
import gc
import os
import shutil
import ssl
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Real trained weights and photos, for tests only. RESNET_TEST_SHARED says where else they are.
SHARED = Path(os.environ.get("RESNET_TEST_SHARED", ROOT.parent / "shared"))

# Before PyTorch is imported: the threads of its OpenMP would spin while they wait, and take the cores from servers and
# from ONNX Runtime. With something else running, a ResNet-18 takes up to ten times as long with it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Thousands of times an httpx client is made, which loads this machine's certificate authorities each time: 20 ms, on a
# core that the server under test could do with.
ssl.create_default_context = functools.cache(ssl.create_default_context)
# Hundreds of processes are started: let the first of each kind keep its bytecode for the rest.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

REQUIRE_ALL = os.environ.get("RESNET_TEST_REQUIRE_ALL") == "1"
_left_out = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow as well")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: long by nature; runs with --slow, in CI, and where its file is named")


@pytest.hookimpl(trylast=True)  # of what -k and -m have left
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is slow, unless everything is to run or the file it is in was named."""
    if REQUIRE_ALL or config.getoption("--slow"):
        return
    named = {(config.invocation_params.dir / argument.split("::")[0]).resolve() for argument in config.args}
    left_out = [item for item in items if item.get_closest_marker("slow") and item.path not in named]
    if left_out:
        items[:] = [item for item in items if item not in set(left_out)]
        config.hook.pytest_deselected(items=left_out)
        config.stash[_left_out] = len(left_out)


def pytest_collection_finish() -> None:
    """Take what all of them have imported out of garbage collection: half a million objects, looked through each time.

    It takes a tenth of the time that an export does.
    """
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how many were left out: nobody is to take the quick run for the whole."""
    if left_out := config.stash.get(_left_out, 0):
        terminalreporter.write_line(f"SLOW [{left_out}] left out: --slow or RESNET_TEST_REQUIRE_ALL=1 runs them too")


def missing(reason: str) -> None:
    """Skip the calling test, since a piece it needs is not here; under RESNET_TEST_REQUIRE_ALL=1, fail it."""
    if REQUIRE_ALL:
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
    """A model repository with the trained `resnet18` and `resnet50`, exported by the command line.

    Of the second it is told nothing but the file. What the same exporter made in an earlier run is taken from there.
    """
    from tests.kept import kept  # which needs this module

    files = {"resnet18": shared / "weights" / "resnet18.pth", "auto": shared / "weights" / "resnet50.safetensors"}

    def make(folder: Path) -> None:
        from export.__main__ import main  # here, so that tests of the service alone need no torch

        for architecture, weights in files.items():
            assert main([architecture, "--weights", str(weights), "--output", str(folder), "--quiet"]) == 0

    repository = tmp_path_factory.mktemp("trained") / "artifacts"
    shutil.copytree(kept("trained", files.values(), make), repository)  # so that no test can spoil the next run's
    return repository
