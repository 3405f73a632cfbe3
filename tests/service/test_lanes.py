"""service.lanes with its watchdog and its way out of a shortage of memory: real threads, real ONNX Runtime."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from service.engine.cpu import CpuEngine
from service.errors import EngineLost
from service.lanes import EngineLanes
from service.shortage import is_shortage
from service.watchdog import STEPS, Watchdog
from tests.faults.traps import write_traps
from tests.service.apps import CROP, FakeEngine, Gate, rows_for
from tests.service.virtual_time import MOMENT_S, now, run

Images = Sequence[NDArray[np.uint8]]


def greys(*levels: int) -> list[NDArray[np.uint8]]:
    return [np.full((CROP, CROP, 3), level, np.uint8) for level in levels]


def short_of_memory(largest: int) -> FakeEngine:
    """Return an engine that has memory for `largest` images at a time."""

    def infer(images: Images) -> NDArray[np.float32]:
        if len(images) > largest:
            raise RuntimeError("Failed to allocate memory for requested buffer of size 1048576")
        return rows_for(images)

    return FakeEngine(infer)


def test_a_batch_that_does_not_fit_in_memory_is_run_in_halves() -> None:
    engine = short_of_memory(3)
    lanes = EngineLanes(engine, timeout_s=30)
    rows = asyncio.run(lanes.run(greys(1, 2, 3, 4, 5), wide=False))
    assert rows.argmax(1).tolist() == [1, 2, 3, 4, 5]
    assert engine.batches == [5, 2, 3]


@pytest.mark.parametrize(("largest", "tried"), [(1, [5, 2]), (0, [5, 2])])
def test_halves_that_do_not_fit_either_are_a_failure(largest: int, tried: list[int]) -> None:
    engine = short_of_memory(largest)
    with pytest.raises(RuntimeError, match="Failed to allocate"):
        asyncio.run(EngineLanes(engine, timeout_s=30).run(greys(1, 2, 3, 4, 5), wide=False))
    assert engine.batches == tried


@pytest.mark.parametrize(
    "said",
    [
        "[ONNXRuntimeError] : 1 : FAIL : bfc_arena.cc:376 Failed to allocate memory for requested buffer of size 82208",
        "bfc_arena.cc:366 Available memory of 1024 is smaller than requested bytes of 82208",
        "Failed to find a free memory block despite calling Extend. rounded_bytes=82208",
        "CUDA failure 2: out of memory ; GPU=0",
        "CUDNN_FE failure 11: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
        "std::bad_alloc",
    ],
)
def test_a_shortage_is_known_by_what_runtimes_say(said: str) -> None:
    assert is_shortage(RuntimeError(said))


def test_other_trouble_is_no_shortage() -> None:
    assert not is_shortage(RuntimeError("Non-zero status code returned while running Gather node"))
    assert is_shortage(MemoryError())


def test_a_run_that_hangs_is_given_up_and_the_engine_with_it() -> None:
    gate = Gate()
    lanes = EngineLanes(FakeEngine(gate), timeout_s=0.2)
    with pytest.raises(EngineLost, match=r"not answered for 0\.2 s"):
        asyncio.run(lanes.run(greys(1), wide=False))
    gate.opened.set()


def test_the_examination_of_an_engine_that_works_finds_nothing() -> None:
    asyncio.run(EngineLanes(FakeEngine(), timeout_s=30).examine())


def fails(_: Images) -> NDArray[np.float32]:
    raise RuntimeError("the device is on fire")


@pytest.mark.parametrize(
    "infer",
    [fails, lambda images: rows_for(images)[:0], lambda images: rows_for(images) * np.float32("nan")],
    ids=["raises", "too few rows", "not numbers"],
)
def test_the_examination_of_an_engine_that_fails_whatever_it_is_given_says_so(infer: object) -> None:
    with pytest.raises(EngineLost):
        asyncio.run(EngineLanes(FakeEngine(infer), timeout_s=30).examine())  # type: ignore[arg-type]


def test_the_watchdog_lets_go_of_what_ends_in_time() -> None:
    async def main() -> None:
        watchdog = Watchdog(1.0)
        await watchdog.within(asyncio.sleep(0.99))
        await watchdog.within(asyncio.sleep(0.99))
        await asyncio.sleep(0.2)  # after which its timer is gone, too

    run(main)


def test_the_watchdog_ends_the_wait_when_the_limit_has_passed_for_each_by_itself() -> None:
    async def hang(watchdog: Watchdog, after_s: float) -> float:
        await asyncio.sleep(after_s)
        with pytest.raises(EngineLost):
            await watchdog.within(asyncio.get_running_loop().create_future())
        current = asyncio.current_task()
        assert current is not None
        assert not current.cancelling()
        return now() - after_s

    async def main() -> None:
        watchdog = Watchdog(1.0)
        waited_s = await asyncio.gather(*(hang(watchdog, after_s) for after_s in (0.0, 0.05, 0.55)))
        assert all(1.0 <= each <= 1.1 + MOMENT_S for each in waited_s), waited_s
        await asyncio.sleep(0.2)

    run(main)


def test_a_cancellation_from_outside_remains_one() -> None:
    async def main() -> None:
        async def work() -> None:
            await Watchdog(1.0).within(asyncio.get_running_loop().create_future())

        task = asyncio.get_running_loop().create_task(work())
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.2)

    run(main)


def test_a_process_that_was_suspended_has_not_waited_meanwhile() -> None:
    """A loop that is held up for longer than the limit, as one of a stopped process is, loses a step and no more."""
    gate = threading.Event()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        loop.call_later(0.01, gate.wait, 1.0)  # the whole loop stands still
        loop.call_later(0.02, done.set_result, None)
        await Watchdog(0.5).within(done)

    assert STEPS > 2
    asyncio.run(main())


def test_batches_are_no_larger_than_what_fits_in_memory_at_warm_up(tmp_path: Path) -> None:
    """In ONNX Runtime, with a network that needs more memory than there is for more than four images."""
    engine = CpuEngine(write_traps(tmp_path, hungry_always=True))
    assert list(engine.warm_up(32)) == [1, 2, 4]
    rows = asyncio.run(
        EngineLanes(engine, timeout_s=30).run([np.full((32, 32, 3), level, np.uint8) for level in range(6)], wide=False)
    )
    assert rows.argmax(1).tolist() == list(range(6))
