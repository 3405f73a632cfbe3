"""service.workers: calls on threads, results to their own callers, cancellation at every stage."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from functools import partial

import pytest

from service.workers import Workers


def test_returns_what_the_function_returns_and_raises_what_it_raises() -> None:
    async def main() -> None:
        workers = Workers(2, "test")
        assert await workers.run(divmod, 7, 3) == (2, 1)
        assert await workers.run(sorted, [3, 1, 2], reverse=True) == [3, 2, 1]
        with pytest.raises(ZeroDivisionError):
            await workers.run(divmod, 1, 0)
        workers.close()

    asyncio.run(main())


def test_never_makes_more_calls_at_once_than_it_has_threads() -> None:
    running, most = 0, 0
    lock = threading.Lock()

    def call() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.002)
        with lock:
            running -= 1

    async def main() -> None:
        workers = Workers(3, "test")
        await asyncio.gather(*(workers.run(call) for _ in range(60)))
        workers.close()

    asyncio.run(main())
    assert most == 3


def test_a_cancelled_call_that_no_thread_has_taken_is_never_made() -> None:
    made: list[int] = []
    gate = threading.Event()

    async def main() -> None:
        workers = Workers(1, "test")
        first = asyncio.create_task(workers.run(gate.wait, 5))
        await asyncio.sleep(0.02)
        second = asyncio.create_task(workers.run(made.append, 2))
        third = asyncio.create_task(workers.run(made.append, 3))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        gate.set()
        await first
        await third
        workers.close()

    asyncio.run(main())
    assert made == [3]


def test_a_cancelled_call_that_is_being_made_is_left_at_once_and_what_it_uses_released_when_it_has_ended() -> None:
    buffer, gate = bytearray(1), threading.Event()
    released: list[int] = []

    def write_late() -> None:
        assert gate.wait(5)
        buffer[0] = 1

    async def main() -> None:
        workers = Workers(1, "test")
        call = asyncio.create_task(workers.run_with(lambda: released.append(buffer[0]), write_late))
        await asyncio.sleep(0.02)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert released == []  # whoever got the buffer now would be written over
        gate.set()
        await workers.run(int)
        assert released == [1]
        workers.close()

    asyncio.run(main())


def test_what_a_call_uses_is_released_once_however_it_ends() -> None:
    gate = threading.Event()
    released: list[str] = []

    async def main() -> None:
        workers = Workers(1, "test")
        assert await workers.run_with(lambda: released.append("returned"), divmod, 7, 3) == (2, 1)
        with pytest.raises(ZeroDivisionError):
            await workers.run_with(lambda: released.append("raised"), divmod, 7, 0)
        busy = asyncio.create_task(workers.run(gate.wait, 5))
        waiting = asyncio.create_task(workers.run_with(lambda: released.append("never made"), int))
        await asyncio.sleep(0.02)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert released == ["returned", "raised", "never made"]  # though the thread has not come to it yet
        gate.set()
        assert await busy
        await workers.run(int)
        workers.close()

    asyncio.run(main())
    assert released == ["returned", "raised", "never made"]


def test_thousands_of_calls_with_a_third_cancelled_leave_nothing_hanging() -> None:
    async def main() -> None:
        draw = random.Random(0)
        workers = Workers(4, "test")
        released: list[int] = []
        tasks = [
            asyncio.create_task(workers.run_with(partial(released.append, number), lambda value: value, number))
            for number in range(6000)
        ]
        for task in tasks:
            if draw.random() < 1 / 3:
                await asyncio.sleep(0)
                task.cancel()
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)
        for number, result in enumerate(results):
            assert result == number or isinstance(result, asyncio.CancelledError)
        await workers.run(int)
        assert len(released) == len(set(released)) >= sum(isinstance(result, int) for result in results) >= 4000
        assert len(asyncio.all_tasks()) == 1
        workers.close()

    asyncio.run(main())


def test_its_threads_end_when_it_is_closed() -> None:
    async def main() -> None:
        workers = Workers(2, "closing")
        await workers.run(int)
        assert sum(thread.name.startswith("closing") for thread in threading.enumerate()) == 2
        workers.close()

    asyncio.run(main())
    deadline = time.monotonic() + 5
    while any(thread.name.startswith("closing") for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_loop_is_woken_for_groups_of_calls_while_there_is_more_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    woken = 0

    async def main() -> None:
        nonlocal woken
        loop = asyncio.get_running_loop()
        wake = loop.call_soon_threadsafe

        def counted(*args: object) -> object:
            nonlocal woken
            woken += 1
            return wake(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
        workers = Workers(1, "test")
        gate = threading.Event()
        calls = [asyncio.create_task(workers.run(gate.wait, 5))]
        calls += [asyncio.create_task(workers.run(abs, -number)) for number in range(19)]
        await asyncio.sleep(0)
        gate.set()
        assert (await asyncio.gather(*calls))[1:] == list(range(19))
        workers.close()

    asyncio.run(main())
    assert woken <= 6  # twenty calls in groups of four, and once before the thread waited


def test_what_has_ended_is_told_before_a_run_begins() -> None:
    gate, begun = threading.Event(), threading.Event()

    def run() -> None:
        begun.set()
        gate.wait(5)

    async def main() -> None:
        workers = Workers(1, "test")
        hold = threading.Event()
        first = asyncio.create_task(workers.run(hold.wait, 5))
        await asyncio.sleep(0.02)
        second = asyncio.create_task(workers.run_first(run))
        third = asyncio.create_task(workers.run(abs, -3))
        await asyncio.sleep(0)
        hold.set()
        async with asyncio.timeout(3):
            assert await first  # though the run, which has the only thread, goes on
        assert begun.wait(3)
        assert not second.done()
        gate.set()
        await second
        assert await third == 3
        workers.close()

    asyncio.run(main())
