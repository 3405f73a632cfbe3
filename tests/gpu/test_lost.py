"""A card that is lost: readiness says no, and the engine's process is replaced."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import httpx
import pytest

from benchmarks.processes import family
from benchmarks.subjects import tiny_jpeg
from tests.service.serving import serving


@pytest.mark.usefixtures("card")
def test_the_process_of_a_lost_engine_is_replaced(repository: Path) -> None:
    """Killed, since no call of CUDA's runtime makes a card fail: what follows a sticky error is the same path."""
    with serving(repository, "--model=fp16", "--provider=cuda", "--frontends=1") as service:
        assert httpx.post(f"{service.url}/classify", content=tiny_jpeg()).status_code == 200
        os.kill(engine_of(service.process.pid), signal.SIGKILL)
        statuses = []
        give_up_s = time.monotonic() + 60
        while time.monotonic() < give_up_s:
            statuses.append(httpx.get(f"{service.url}/readyz").status_code)
            if 503 in statuses and statuses[-1] == 200:
                break
            time.sleep(0.05)
        assert 503 in statuses
        assert statuses[-1] == 200
        assert httpx.post(f"{service.url}/classify", content=tiny_jpeg()).status_code == 200


def engine_of(supervisor: int) -> int:
    """Return the process that holds the card: of all, the one with ONNX Runtime's CUDA library mapped."""
    for pid in family(supervisor):
        if "libonnxruntime_providers_cuda" in Path(f"/proc/{pid}/maps").read_text():
            return pid
    raise AssertionError("no process uses the card")
