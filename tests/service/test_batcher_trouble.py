"""Callers that hang up or run out of time, engines that fail, queues that fill, shutdowns: in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from service.backend import Answer
from service.batcher import Batcher
from service.cost import CostModel
from service.errors import DeadlineExceeded, EngineFailed, EngineLost, QueueFull, Unavailable
from tests.service.callers import COSTS, ask, batcher_of, batches, start, start_after
from tests.service.fake_lanes import FakeLanes, Fault, numbers, pictures
from tests.service.virtual_time import MOMENT_S, now, run


def test_who_hangs_up_while_waiting_never_reaches_the_engine() -> None:
    lanes = FakeLanes()

    async def main() -> None:
        batcher = batcher_of(lanes)
        running = start(ask(batcher, [0]))
        await asyncio.sleep(0.001)
        waiting = [start(ask(batcher, [n])) for n in (1, 2, 3)]
        await asyncio.sleep(0.001)
        waiting[1].cancel()
        await asyncio.sleep(0)
        assert batcher.depth == 2
        results = await asyncio.gather(running, *waiting, return_exceptions=True)
        assert isinstance(results[2], asyncio.CancelledError)

    run(main)
    assert batches(lanes) == [[0], [1, 3]]


def test_who_hangs_up_during_the_run_harms_none_of_its_batch_mates() -> None:
    lanes = FakeLanes()

    async def main() -> None:
        batcher = batcher_of(lanes)
        calls = [start(ask(batcher, [n])) for n in range(3)]
        await asyncio.sleep(0.005)
        calls[1].cancel()
        first, second, third = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(second, asyncio.CancelledError)
        assert isinstance(first, Answer)
        assert isinstance(third, Answer)
        assert (numbers(first.rows), numbers(third.rows)) == ([0], [2])

    run(main)


def test_who_hangs_up_while_decoding_gives_the_place_back() -> None:
    async def decode(batcher: Batcher) -> None:
        with batcher.reserve(4):
            await asyncio.sleep(1.0)

    async def main() -> None:
        batcher = batcher_of(FakeLanes(), queue_capacity=4)
        decoding = asyncio.get_running_loop().create_task(decode(batcher))
        await asyncio.sleep(0.001)
        assert batcher.depth == 4
        with pytest.raises(QueueFull):
            batcher.reserve(1)
        decoding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await decoding
        assert batcher.depth == 0
        batcher.reserve(4)

    run(main)


def test_a_deadline_that_passes_in_line_is_told_at_that_moment() -> None:
    lanes = FakeLanes(seconds=lambda _: 1.0)

    async def main() -> None:
        batcher = batcher_of(lanes)  # which believes that runs take milliseconds
        running = start(ask(batcher, [0]))
        await asyncio.sleep(0.1)
        with pytest.raises(DeadlineExceeded):
            await ask(batcher, [1], deadline_s=0.5)
        assert now() == pytest.approx(0.5, abs=MOMENT_S)
        assert batcher.depth == 0
        await running

    run(main)
    assert batches(lanes) == [[0]]


def test_a_deadline_that_cannot_be_met_is_refused_on_arrival() -> None:
    lanes = FakeLanes()

    async def main() -> None:
        batcher = batcher_of(lanes)
        calls = [start(ask(batcher, [n])) for n in range(80)]
        await asyncio.sleep(0.001)
        with pytest.raises(DeadlineExceeded):
            batcher.reserve(1, deadline_s=now() + 0.050)  # 80 images take 10 runs of 18 ms
        assert now() < 0.002
        batcher.reserve(1, deadline_s=now() + 0.500).__exit__(None, None, None)
        await asyncio.gather(*calls)

    run(main)


def test_who_could_not_be_answered_in_time_any_more_is_dropped_when_the_batch_is_formed() -> None:
    lanes = FakeLanes()

    async def main() -> None:
        batcher = batcher_of(lanes)
        running = start(ask(batcher, [0]))
        await asyncio.sleep(0.001)
        with pytest.raises(DeadlineExceeded):
            await ask(batcher, [1], deadline_s=0.018)  # a run takes 11 ms, and one is on until 11
        assert now() == pytest.approx(0.011, abs=MOMENT_S)
        await running

    run(main)
    assert batches(lanes) == [[0]]


def test_an_estimate_gone_wrong_does_not_refuse_everybody_for_ever() -> None:
    lanes = FakeLanes()

    async def main() -> None:
        costs = CostModel(COSTS)
        for _ in range(100):
            costs.observe(8, 1.0)  # the machine was suspended, say
        batcher = Batcher(lanes, costs, max_batch_size=8, queue_capacity=8, clock=now)
        refusals = 0
        for _ in range(100):
            try:
                await ask(batcher, [0], deadline_s=now() + 0.060)
            except DeadlineExceeded:
                refusals += 1
        assert 0 < refusals < 50

    run(main)


@pytest.mark.parametrize("fault", set(Fault) - {Fault.NOT_A_NUMBER}, ids=lambda fault: fault.name)
def test_a_failed_run_is_told_to_all_in_it_and_to_nobody_else(fault: Fault) -> None:
    lanes = FakeLanes(faults={0: fault})

    async def main() -> None:
        batcher = batcher_of(lanes)
        failing = [start(ask(batcher, [n])) for n in range(3)]
        later = await start_after(0.005, ask(batcher, [3]))
        results = await asyncio.gather(*failing, return_exceptions=True)
        assert [type(result) for result in results] == [EngineFailed] * 3
        assert numbers((await later).rows) == [3]
        assert batcher.depth == 0
        await batcher.close()

    run(main)
    assert batches(lanes) == [[0, 1, 2], [3]]


def test_numbers_that_are_none_fail_their_own_caller_and_no_batch_mate() -> None:
    lanes = FakeLanes(faults={0: Fault.NOT_A_NUMBER})  # in the last row

    async def main() -> None:
        batcher = batcher_of(lanes)
        calls = [start(ask(batcher, known)) for known in ([0], [1, 2], [3, 4, 5])]
        first, second, third = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(first, Answer)
        assert isinstance(second, Answer)
        assert (numbers(first.rows), numbers(second.rows)) == ([0], [1, 2])
        assert isinstance(third, EngineFailed)
        assert "not finite" in repr(third.__cause__)

    run(main)
    assert batches(lanes) == [[0, 1, 2, 3, 4, 5]]
    assert lanes.examined == 1


def test_an_engine_that_does_not_work_any_more_takes_nobody_with_it_and_nobody_in() -> None:
    lanes = FakeLanes(faults={0: Fault.RAISES}, lost=True)

    async def main() -> None:
        batcher = batcher_of(lanes)
        failing = start(ask(batcher, [0]))
        waiting = await start_after(0.005, ask(batcher, [1]))
        with batcher.reserve(1) as decoding:
            with pytest.raises(EngineFailed):
                await failing
            with pytest.raises(EngineLost):
                await waiting
            assert now() < 0.012
            assert isinstance(batcher.unavailable, EngineLost)
            with pytest.raises(EngineLost):
                await decoding.infer(pictures([2]))
        with pytest.raises(EngineLost):
            batcher.reserve(1)
        await batcher.close()

    run(main)
    assert batches(lanes) == [[0]]


def test_when_one_part_of_a_large_request_fails_the_rest_is_not_computed() -> None:
    lanes = FakeLanes(faults={1: Fault.RAISES})

    async def main() -> None:
        batcher = batcher_of(lanes)
        with pytest.raises(EngineFailed):
            await ask(batcher, range(40))
        assert batcher.depth == 0
        await batcher.close()

    run(main)
    assert len(lanes.runs) == 2


def test_a_full_queue_says_when_to_come_back_and_later_the_longer_it_is() -> None:
    async def main() -> list[float]:
        waits = []
        for capacity in (1_000, 10_000):
            batcher = batcher_of(FakeLanes(), queue_capacity=capacity)
            with batcher.reserve(capacity), pytest.raises(QueueFull) as refused:
                batcher.reserve(1)
            waits.append(refused.value.retry_after_s or 0.0)
        return waits

    short, long = run(main)
    assert 1.0 <= short < long
    assert long == pytest.approx(10_000 * 0.018 / 8 / 2, rel=0.01)  # by then half of the queue is done


def test_draining_answers_who_is_in_and_refuses_who_comes() -> None:
    lanes = FakeLanes()

    async def main() -> None:
        batcher = batcher_of(lanes)
        calls = [start(ask(batcher, [n])) for n in range(20)]
        with batcher.reserve(1) as decoding:
            await asyncio.sleep(0.001)
            closing = asyncio.get_running_loop().create_task(batcher.close())
            await asyncio.sleep(0.001)
            first, second = batcher.unavailable, batcher.unavailable
            assert isinstance(first, Unavailable)
            assert first is not second  # raised again, one error would collect the frames of all its raisers
            with pytest.raises(Unavailable):
                batcher.reserve(1)
            assert numbers((await decoding.infer(pictures([99]))).rows) == [99]
        answers = await asyncio.gather(*calls)
        assert [numbers(answer.rows) for answer in answers] == [[n] for n in range(20)]
        await closing

    run(main)


def test_closing_without_draining_answers_only_what_the_engine_has_already() -> None:
    lanes = FakeLanes()

    async def main() -> None:
        batcher = batcher_of(lanes)
        running = start(ask(batcher, [0]))
        await asyncio.sleep(0.001)
        waiting = start(ask(batcher, [1]))
        with batcher.reserve(1) as decoding:
            await asyncio.sleep(0.001)
            closing = asyncio.get_running_loop().create_task(batcher.close(drain=False))
            with pytest.raises(Unavailable):
                await waiting
            assert now() < 0.003
            with pytest.raises(Unavailable):
                await decoding.infer(pictures([2]))
        assert numbers((await running).rows) == [0]
        await closing

    run(main)
    assert batches(lanes) == [[0]]


@pytest.mark.parametrize("brought", [0, 3])
def test_a_place_takes_as_many_images_as_were_reserved(brought: int) -> None:
    async def main() -> None:
        batcher = batcher_of(FakeLanes())
        with batcher.reserve(2) as place, pytest.raises(ValueError, match=f"{brought} images"):
            await place.infer(pictures(range(brought)))
        assert batcher.depth == 0

    run(main)
