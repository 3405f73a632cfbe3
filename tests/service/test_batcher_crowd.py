"""A crowd on a real loop in real time: nothing hangs, nothing is lost, whoever hangs up whenever."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import uvloop
from numpy.typing import NDArray

from service.batcher import Batcher
from service.cost import CostModel
from tests.service.fake_lanes import number_of, numbers, picture, rows_of

CALLERS = 10_000


class QuickLanes:
    """Two lanes that take a moment."""

    count, pipelined, can_widen = 2, False, True

    async def run(self, images: Sequence[NDArray[np.uint8]], *, wide: bool) -> NDArray[np.float32]:
        await asyncio.sleep(0.001)
        return rows_of([number_of(image) for image in images])

    async def examine(self) -> None: ...


async def crowd(seed: int) -> Counter[str]:
    dice = random.Random(seed)
    batcher = Batcher(QuickLanes(), CostModel({1: 0.001, 32: 0.0015}), max_batch_size=32, queue_capacity=CALLERS)
    loop = asyncio.get_running_loop()

    async def call(number: int) -> str:
        await asyncio.sleep(dice.random())
        with batcher.reserve(1, deadline_s=time.monotonic() + 30, priority=dice.randrange(6)) as place:
            await asyncio.sleep(dice.random() * 0.05)
            answer = await place.infer([picture(number)])
        assert numbers(answer.rows) == [number]
        return "answered"

    calls = [loop.create_task(call(number)) for number in range(CALLERS)]
    leaving = dice.sample(calls, CALLERS // 3)
    for task in leaving:
        loop.call_later(dice.random() * 1.05, task.cancel)
    async with asyncio.timeout(60):
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    await batcher.close()
    assert batcher.depth == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}
    for task, outcome in zip(calls, outcomes, strict=True):
        assert outcome == "answered" or (task in leaving and isinstance(outcome, asyncio.CancelledError)), outcome
    return Counter(type(outcome).__name__ for outcome in outcomes)


@pytest.mark.parametrize(
    "loop",
    [
        pytest.param(asyncio.new_event_loop, id="asyncio", marks=pytest.mark.slow),
        pytest.param(uvloop.new_event_loop, id="uvloop"),
    ],
)
def test_ten_thousand_callers_a_third_of_whom_hang_up_leave_nothing_behind(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    started = time.process_time()
    with asyncio.Runner(loop_factory=loop) as runner:
        outcomes = runner.run(crowd(1))
    assert outcomes["CancelledError"] > CALLERS // 6  # many were still there to hang up
    assert time.process_time() - started < 5  # seconds of CPU time; a quiet machine takes about as long
