"""A lone image's run on the thread that decoded it: real threads, an engine that notes where it ran."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.backend import Answer
from service.batcher import Batcher
from service.cost import CostModel
from service.errors import EngineFailed, EngineLost, QueueFull
from service.lanes import EngineLanes
from service.workers import Workers
from tests.service.apps import CROP, FakeEngine, Gate, rows_for, soon

Image = NDArray[np.uint8]


class Widening(FakeEngine):
    """An engine of two lanes that a lone run can have both of."""

    can_widen = True

    def __init__(self, infer: Callable[[Sequence[Image]], NDArray[np.float32]] = rows_for) -> None:
        super().__init__(infer, lanes=2)
        self.runs: list[tuple[str, bool]] = []  # each run's thread, and whether it was wide

    def infer(self, images: Sequence[Image], *, wide: bool = False) -> NDArray[np.float32]:
        self.runs.append((threading.current_thread().name, wide))
        return super().infer(images, wide=wide)


class Service:
    """A batcher whose threads decode and run."""

    def __init__(self, engine: Widening, *, timeout_s: float = 30, capacity: int = 8) -> None:
        self.workers = Workers(2, "worker")
        self.decoded_by: list[str] = []
        lanes = EngineLanes(engine, self.workers, timeout_s=timeout_s)
        self.batcher = Batcher(
            lanes,
            CostModel({1: 0.001, 2: 0.0015}),
            max_batch_size=4,
            queue_capacity=capacity,
            threads=self.workers,
            runner=lanes,
        )

    async def ask(self, level: int, decoded: threading.Event | None = None) -> Answer:
        """Classify a grey image, whose decoding ends when `decoded` is set."""

        def decode() -> Image:
            self.decoded_by.append(threading.current_thread().name)
            assert decoded is None or decoded.wait(10)
            return np.full((CROP, CROP, 3), level, np.uint8)

        with self.batcher.reserve(1) as place:
            loan = place.lend(0)

            def work() -> Image:
                image = decode()
                if loan.run_ahead is not None:
                    loan.run_ahead(image)
                return image

            image = await self.workers.run_with(loan.give_back, work)
            return await place.infer([image])


def answered(answer: Answer) -> int:
    return int(answer.rows[0].argmax())


def main(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 20))


def test_a_lone_image_is_run_wide_by_the_thread_that_decoded_it() -> None:
    engine = Widening()

    async def work() -> None:
        service = Service(engine)
        for level in range(3):
            answer = await service.ask(level)
            assert answered(answer) == level
            assert answer.queue_s == 0
            assert answer.ahead_s == answer.inference_s > 0
        assert engine.runs == [(thread, True) for thread in service.decoded_by]
        await service.batcher.close()

    main(work())


def test_nothing_is_run_ahead_once_somebody_else_waits() -> None:
    engine, gate = Widening(), threading.Event()

    async def work() -> None:
        service = Service(engine)
        first = asyncio.create_task(service.ask(1, gate))
        await soon(lambda: len(service.decoded_by) == 1)
        second = await service.ask(2)
        assert answered(second) == 2
        gate.set()
        answer = await first
        assert answered(answer) == 1
        assert answer.ahead_s == 0
        await service.batcher.close()

    main(work())


def test_whoever_comes_during_a_run_that_has_every_core_is_next() -> None:
    gate = Gate()
    engine = Widening(gate)

    async def work() -> None:
        service = Service(engine, capacity=2)
        first = asyncio.create_task(service.ask(1))
        await soon(lambda: len(engine.runs) == 1)
        assert service.batcher.depth == 0  # it does not wait any more
        others = [asyncio.create_task(service.ask(level)) for level in (2, 3)]
        await soon(lambda: len(service.decoded_by) == 3)
        await asyncio.sleep(0.02)
        assert len(engine.runs) == 1
        with pytest.raises(QueueFull):
            service.batcher.reserve(1)
        gate.opened.set()
        assert [answered(answer) for answer in await asyncio.gather(first, *others)] == [1, 2, 3]
        await service.batcher.close()
        assert service.batcher.depth == 0

    main(work())


@pytest.mark.parametrize("wrong", ["raises", "nan", "too few rows"])
def test_a_run_ahead_that_goes_wrong_is_told_to_its_caller_and_the_engine_goes_on(wrong: str) -> None:
    def infer(images: Sequence[Image]) -> NDArray[np.float32]:
        if images[0][0, 0, 0] != 9:
            return rows_for(images)
        if wrong == "raises":
            raise RuntimeError("the graph fails")
        return rows_for(images)[:0] if wrong == "too few rows" else np.full((1, 256), np.nan, np.float32)

    async def work() -> None:
        service = Service(Widening(infer))
        with pytest.raises(EngineFailed):
            await service.ask(9)
        assert answered(await service.ask(8)) == 8
        await service.batcher.close()

    main(work())


def test_a_run_ahead_that_hangs_is_given_up_and_the_engine_with_it() -> None:
    gate = Gate()

    async def work() -> None:
        service = Service(Widening(gate), timeout_s=0.1)
        caller = asyncio.create_task(service.ask(1))
        await soon(lambda: isinstance(service.batcher.unavailable, EngineLost))
        caller.cancel()  # as the server does, which ends
        gate.opened.set()
        with pytest.raises(asyncio.CancelledError):
            await caller

    main(work())


def test_decoding_that_takes_its_time_is_not_the_engine_hanging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.ahead._UNWATCHED_S", 0.01)
    gate = threading.Event()

    async def work() -> None:
        service = Service(Widening(), timeout_s=0.05)
        caller = asyncio.create_task(service.ask(1, gate))
        await asyncio.sleep(0.2)
        assert service.batcher.unavailable is None
        gate.set()
        assert answered(await caller) == 1
        await service.batcher.close()

    main(work())


def test_who_leaves_while_decoding_is_not_run_and_leaves_nothing_behind() -> None:
    engine, gate = Widening(), threading.Event()

    async def work() -> None:
        service = Service(engine)
        caller = asyncio.create_task(service.ask(1, gate))
        await soon(lambda: len(service.decoded_by) == 1)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert service.batcher.depth == 0
        gate.set()
        assert answered(await service.ask(2)) == 2
        assert len(engine.runs) == 1
        await service.batcher.close()

    main(work())


def test_who_leaves_during_the_run_is_waited_for_by_those_who_come_next_and_by_the_end() -> None:
    gate = Gate()
    engine = Widening(gate)

    async def work() -> None:
        service = Service(engine)
        caller = asyncio.create_task(service.ask(1))
        await soon(lambda: len(engine.runs) == 1)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        other = asyncio.create_task(service.ask(2))
        await soon(lambda: len(service.decoded_by) == 2)
        closing = asyncio.create_task(service.batcher.close())
        await asyncio.sleep(0.02)
        assert len(engine.runs) == 1
        assert not closing.done()
        gate.opened.set()
        assert answered(await other) == 2
        await closing

    main(work())


def test_at_once_is_for_one_image_of_one_caller_alone() -> None:
    async def work() -> None:
        service = Service(Widening())
        with service.batcher.reserve(2) as both:
            assert both.lend(0).run_ahead is None
        with service.batcher.reserve(1) as first, service.batcher.reserve(1) as second:
            assert first.lend(0).run_ahead is None
            assert second.lend(0).run_ahead is None
        await service.batcher.close()

    main(work())


def test_a_crowd_that_comes_and_goes_gets_each_its_own_rows() -> None:
    async def work() -> None:
        service = Service(Widening(), capacity=64)
        draw = np.random.default_rng(0)

        async def one(level: int) -> None:
            await asyncio.sleep(draw.uniform(0, 0.3))
            asking = asyncio.create_task(service.ask(level))
            if level % 5 == 0:
                await asyncio.sleep(draw.uniform(0, 0.002))
                asking.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    assert answered(await asking) == level  # or before that
            else:
                assert answered(await asking) == level

        began_s = time.monotonic()
        await asyncio.gather(*(one(level) for level in range(200)))
        await service.batcher.close()
        assert service.batcher.depth == 0
        assert time.monotonic() - began_s < 10

    main(work())
