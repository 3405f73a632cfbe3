"""What needs a card is skipped, with the reason, where there is none; also where every other piece must be there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.engine.device import CudaDevice
from service.engine.interface import CUDA, EngineError
from service.engine.sessions import missing


@pytest.fixture(scope="session")
def card() -> Iterator[CudaDevice]:
    """The first CUDA device."""
    try:
        if (reason := missing(CUDA)) is not None:
            raise EngineError(reason)
        yield CudaDevice(0)
    except EngineError as error:
        # Not tests.conftest.missing: no machine of CI has a card, so one cannot be required.
        pytest.skip(f"no card: {error}")


@pytest.fixture(scope="session")
def repository(card: CudaDevice, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`resnet18`, untrained, as `fp32` and as `fp16`."""
    from export.__main__ import main

    folder = tmp_path_factory.mktemp("card")
    for precision in ("fp32", "fp16"):
        arguments = ["resnet18", "--weights", "untrained", "--name", precision, "--precision", precision]
        assert main([*arguments, "--output", str(folder), "--quiet"]) == 0
    return folder
