"""The engine on a real card: right answers, every bucket warmed, copies beside compute, memory that runs out."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service import shortage
from service.engine import CUDA, Tuning, open_engine
from service.engine.cpu import CpuEngine
from service.engine.cuda import CudaEngine
from service.engine.device import CudaDevice, DeviceError
from service.golden import examine
from service.repository import find


def images(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, 224, 224, 3), np.uint8))


def on_card(repository: Path, name: str, **tuning: Any) -> CudaEngine:
    engine = open_engine(find(repository, name).path, provider="cuda", tuning=Tuning(**tuning))
    assert isinstance(engine, CudaEngine)
    return engine


@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize(("name", "tolerance"), [("fp32", 1e-4), ("fp16", 5e-3)])
def test_answers_are_those_of_the_cpu(repository: Path, name: str, tolerance: float, graphs: bool) -> None:
    engine = on_card(repository, name, graphs=graphs)
    assert engine.provider == CUDA
    assert examine(engine).fault is None
    engine.warm_up(8)
    expected = CpuEngine(find(repository, "fp32").path).infer(images(8))
    for count in (1, 3, 8, 5, 8):
        np.testing.assert_allclose(engine.infer(images(count)), expected[:count], atol=tolerance)


def test_every_bucket_is_warmed_so_that_no_later_run_is_slow_or_allocates(repository: Path, card: CudaDevice) -> None:
    engine = on_card(repository, "fp16")
    seconds = engine.warm_up(16)
    assert list(seconds) == [1, 2, 4, 8, 16]
    free, _ = card.memory()
    for size, cost in seconds.items():
        began_s = time.perf_counter()
        engine.infer(images(size))
        assert time.perf_counter() - began_s < 10 * cost + 0.05, size
    assert card.memory()[0] == free


def test_two_runs_take_less_than_one_after_the_other(repository: Path) -> None:
    """One lane's copies and assembly go on beside the other's compute."""
    engine = on_card(repository, "fp16")
    engine.warm_up(64)
    batch, runs = images(64), 20

    def go() -> None:
        for _ in range(runs):
            engine.infer(batch)

    def seconds(threads: int) -> float:
        workers = [threading.Thread(target=go) for _ in range(threads)]
        began_s = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return (time.perf_counter() - began_s) / threads

    seconds(2)
    assert min(seconds(2) for _ in range(3)) < 0.95 * min(seconds(1) for _ in range(3))


def test_a_batch_that_does_not_fit_is_halved_for_real(repository: Path) -> None:
    engine = on_card(repository, "fp32", memory_mib=700)
    largest = max(engine.warm_up(1024))
    assert largest < 1024, "all of it fitted: nothing was tried"
    rows = shortage.infer(engine, images(2), wide=False)
    assert rows.shape[0] == 2


def test_a_device_says_what_went_wrong(card: CudaDevice) -> None:
    with pytest.raises(DeviceError, match="cudaErrorMemoryAllocation") as caught:
        card.allocate(1 << 50)
    assert shortage.is_shortage(caught.value)
