"""service.engine.device: what asks the CUDA runtime, and all on it, where nothing is done before it is waited for."""

from __future__ import annotations

import asyncio
import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from service.engine.cpu import CpuEngine
from service.engine.cuda import CudaEngine
from service.engine.device import DeviceError
from service.engine.interface import EngineError, contract_of
from service.engine.sessions import cpu_session
from service.errors import EngineLost
from service.lanes import EngineLanes
from service.shortage import is_shortage
from tests.service.artefacts import write_mean
from tests.service.engine.runtime import LateDevice, LateRuntime, late_device

Made = Callable[..., tuple[LateDevice, LateRuntime]]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    """Makes a device and the runtime that it asks."""

    def make(**options: int) -> tuple[LateDevice, LateRuntime]:
        runtime = LateRuntime(**options)
        return late_device(monkeypatch, runtime), runtime

    return make


def bytes_at(address: int, size: int) -> bytes:
    return ctypes.string_at(address, size)


def test_memory_is_zero_before_any_stream_can_use_it(made: Made) -> None:
    """Else zeros that come late, in a stream that ours do not wait for, undo the first copy."""
    device, _ = made()
    buffer, stream, source = device.allocate(8), device.stream(), np.arange(8, dtype=np.uint8)
    assert bytes_at(buffer.address, 8) == bytes(8)
    device.copy(buffer.address, source.ctypes.data, 8, stream)
    assert bytes_at(buffer.address, 8) == bytes(8), "copied before it was waited for: this runtime is not late"
    device.wait(stream)
    assert bytes_at(buffer.address, 8) == source.tobytes()
    assert not device.pinned((2, 3), np.float32).any()


def test_memory_is_given_back_with_the_last_who_refers_to_it(made: Made) -> None:
    device, runtime = made(room=1000)
    buffer, pinned = device.allocate(100), device.pinned((10, 10), np.uint8)
    view = pinned[3:]
    assert device.memory() == (800, 1000)
    del buffer, pinned
    gc.collect()
    assert device.memory() == (900, 1000)
    del view
    gc.collect()
    assert runtime.held == {}


def test_what_goes_wrong_is_named_and_too_little_memory_known(made: Made) -> None:
    device, _ = made(room=100)
    with pytest.raises(DeviceError, match="cudaMalloc: cudaErrorMemoryAllocation") as caught:
        device.allocate(101)
    assert is_shortage(caught.value)


def test_a_device_that_there_is_not_is_an_error(made: Made) -> None:
    with pytest.raises(EngineError, match="no CUDA device 0: 0 were found"):
        made(devices=0)


def test_it_is_told_that_who_waits_sleeps_and_says_what_it_is(made: Made) -> None:
    device, runtime = made()
    assert runtime.flags == runtime.cudaDeviceScheduleBlockingSync
    assert (device.name, device.architecture) == ("Late", "90")


class Late:
    """A session whose runs happen in their stream, as a card's do."""

    def __init__(self, artefact: Path, runtime: LateRuntime, stream: int) -> None:
        self._inner, self._runtime, self._stream = cpu_session(artefact), runtime, stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def run_with_iobinding(self, binding: Any, options: ort.RunOptions) -> None:
        self._runtime.put(self._stream, lambda: self._inner.run_with_iobinding(binding, options))


def engine_on(artefact: Path, device: LateDevice, runtime: LateRuntime) -> CudaEngine:
    contract = contract_of(cpu_session(artefact))
    return CudaEngine(device, contract, lambda stream: Late(artefact, runtime, stream))  # type: ignore[arg-type,return-value]


def test_an_engine_answers_rightly_though_nothing_is_done_before_it_is_waited_for(made: Made, tmp_path: Path) -> None:
    artefact = write_mean(tmp_path, crop=48, classes=10)
    device, runtime = made()
    engine = engine_on(artefact, device, runtime)
    engine.warm_up(4)
    images = list(np.random.default_rng(0).integers(0, 256, (4, 48, 48, 3), np.uint8))
    expected = CpuEngine(artefact).infer(images)
    for count in (4, 1, 3, 2, 4):
        np.testing.assert_allclose(engine.infer(images[:count]), expected[:count], atol=1e-6)
    assert not any(runtime.due.values()), "left undone"


def test_a_card_that_fails_at_everything_is_an_engine_that_is_lost(made: Made, tmp_path: Path) -> None:
    """As after an illegal access, which every later call reports."""
    artefact = write_mean(tmp_path, crop=48, classes=10)
    device, runtime = made()
    engine = engine_on(artefact, device, runtime)
    engine.warm_up(2)
    lanes = EngineLanes(engine, timeout_s=30)

    async def fail() -> None:
        await lanes.examine()
        runtime.failing = True
        with pytest.raises(EngineLost, match="fails whatever it is given"):
            await lanes.examine()

    asyncio.run(fail())
    lanes.close()
