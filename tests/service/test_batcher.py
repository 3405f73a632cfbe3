"""How batches form, in virtual time; `test_batcher_properties` has what holds always."""

from __future__ import annotations

import asyncio

import pytest

from service.batcher import Batcher
from service.cost import CostModel
from service.errors import Unprocessable
from tests.service.callers import ask, batcher_of, batches, start, start_after
from tests.service.fake_lanes import FakeLanes, FakeThreads, numbers
from tests.service.virtual_time import MOMENT_S, now, run


def test_a_lone_image_starts_at_once() -> None:
    lanes = FakeLanes()

    async def main() -> None:
        await asyncio.sleep(1.0)
        answer = await ask(batcher_of(lanes), [7])
        assert numbers(answer.rows) == [7]
        assert answer.queue_s < MOMENT_S
        assert answer.inference_s == pytest.approx(0.011)

    run(main)
    assert lanes.runs[0].started_s == pytest.approx(1.0)


def test_callers_who_come_together_share_a_batch() -> None:
    lanes = FakeLanes()

    async def main() -> None:
        batcher = batcher_of(lanes)
        await asyncio.gather(*(ask(batcher, [n]) for n in range(5)))

    run(main)
    assert batches(lanes) == [[0, 1, 2, 3, 4]]


def test_who_comes_during_a_run_shares_the_next_one_which_starts_as_soon_as_the_first_ends() -> None:
    lanes = FakeLanes()

    async def main() -> None:
        batcher = batcher_of(lanes)
        calls = [await start_after(0.002, ask(batcher, [n])) for n in range(4)]
        answers = await asyncio.gather(*calls)
        assert [numbers(answer.rows) for answer in answers] == [[0], [1], [2], [3]]
        assert answers[1].queue_s == pytest.approx(0.009, abs=MOMENT_S)

    run(main)
    assert batches(lanes) == [[0], [1, 2, 3]]
    assert lanes.runs[1].started_s == pytest.approx(lanes.runs[0].finished_s, abs=MOMENT_S)


def test_no_batch_is_larger_than_the_cost_of_an_image_justifies() -> None:
    lanes = FakeLanes(seconds=lambda images: 0.200 * images)

    async def main() -> None:
        batcher = batcher_of(lanes, {1: 0.200, 2: 0.400, 4: 0.800})
        await asyncio.gather(*(ask(batcher, [n]) for n in range(3)))

    run(main)
    assert batches(lanes) == [[0], [1], [2]]  # larger ones would only make the first wait for the last


def test_lanes_with_cores_of_their_own_divide_what_waits() -> None:
    lanes = FakeLanes(2)

    async def main() -> None:
        batcher = batcher_of(lanes)
        await asyncio.gather(*(ask(batcher, [n]) for n in range(6)))

    run(main)
    assert batches(lanes) == [[0, 1, 2], [3, 4, 5]]
    assert lanes.runs[0].started_s == pytest.approx(lanes.runs[1].started_s, abs=MOMENT_S)


def test_a_lone_image_may_use_every_core_and_two_may_not() -> None:
    lanes = FakeLanes(2, can_widen=True)

    async def main() -> None:
        batcher = batcher_of(lanes)
        await ask(batcher, [0])
        await asyncio.gather(ask(batcher, [1]), ask(batcher, [2]))

    run(main)
    assert [(one.pictures, one.wide) for one in lanes.runs] == [([0], True), ([1], False), ([2], False)]


def test_a_lone_image_leaves_the_cores_to_those_who_are_being_decoded() -> None:
    lanes = FakeLanes(2, can_widen=True)

    async def main() -> None:
        batcher = batcher_of(lanes)
        with batcher.reserve(1):
            await ask(batcher, [0])

    run(main)
    assert [one.wide for one in lanes.runs] == [False]


def test_where_decoding_takes_the_same_cores_a_run_waits_for_a_core_unless_its_batch_is_full() -> None:
    threads = FakeThreads(1)
    lanes = FakeLanes(threads=threads)

    async def main() -> None:
        batcher = batcher_of(lanes, {1: 0.010, 4: 0.020}, max_batch_size=4, threads=threads)
        decoding = asyncio.get_running_loop().create_task(threads.work(0.050))
        await asyncio.sleep(0.001)
        calls = [start(ask(batcher, [n])) for n in range(3)]
        await asyncio.sleep(0.040)
        assert not lanes.runs
        await decoding
        await asyncio.gather(*calls)
        decoding = asyncio.get_running_loop().create_task(threads.work(0.050))
        queued = asyncio.get_running_loop().create_task(threads.work(0.050))
        await asyncio.sleep(0.001)
        await asyncio.gather(*(ask(batcher, [n]) for n in range(3, 7)))
        assert decoding.done()
        assert not queued.done()  # the run went first
        await queued

    run(main)
    assert batches(lanes) == [[0, 1, 2], [3, 4, 5, 6]]


def test_a_wide_run_does_not_count_as_what_a_narrow_one_costs() -> None:
    lanes = FakeLanes(2, can_widen=True, seconds=lambda _: 5.0)
    costs = CostModel({1: 1.0})

    async def main() -> None:
        await ask(Batcher(lanes, costs, max_batch_size=8, queue_capacity=8, clock=now), [0])

    run(main)
    assert costs.of(1) == 1.0


def test_on_a_shared_device_only_a_full_batch_overlaps_the_run_that_is_on() -> None:
    lanes = FakeLanes(2, pipelined=True)

    async def main() -> None:
        batcher = batcher_of(lanes, max_batch_size=4)
        first = start(ask(batcher, [0]))
        part = await start_after(0.001, ask(batcher, [1, 2]))  # could still grow for free
        full = await start_after(0.001, ask(batcher, [3, 4]))
        await asyncio.gather(first, part, full)

    run(main)
    assert batches(lanes) == [[0], [1, 2, 3, 4]]
    assert lanes.runs[1].started_s == pytest.approx(0.002, abs=MOMENT_S)


def test_a_large_request_is_split_over_batches_and_put_together_again() -> None:
    lanes = FakeLanes()
    costs = {size: 0.010 + 0.001 * size for size in (1, 2, 4, 8, 16)}

    async def main() -> None:
        batcher = batcher_of(lanes, costs, max_batch_size=16)
        large, small = await asyncio.gather(ask(batcher, range(40)), ask(batcher, [99]))
        assert numbers(large.rows) == list(range(40))
        assert numbers(small.rows) == [99]
        assert large.queue_s < MOMENT_S
        assert large.inference_s == pytest.approx(0.010 * 3 + 0.001 * 41, abs=MOMENT_S)

    run(main)
    assert [len(batch) for batch in batches(lanes)] == [16, 16, 9]


def test_with_a_queue_delay_a_batch_waits_for_company_but_no_longer() -> None:
    lanes = FakeLanes()

    async def main() -> None:
        batcher = batcher_of(lanes, max_queue_delay_s=0.050)
        calls = [start(ask(batcher, [0]))]
        calls.append(await start_after(0.030, ask(batcher, [1])))
        await asyncio.gather(*calls)
        await batcher.close()

    run(main)
    assert batches(lanes) == [[0, 1]]
    assert lanes.runs[0].started_s == pytest.approx(0.050, abs=MOMENT_S)


def test_a_full_batch_does_not_sit_out_the_queue_delay() -> None:
    lanes = FakeLanes()

    async def main() -> None:
        batcher = batcher_of(lanes, max_queue_delay_s=0.050, max_batch_size=2)
        calls = [start(ask(batcher, [0]))]
        calls.append(await start_after(0.010, ask(batcher, [1])))
        await asyncio.gather(*calls)

    run(main)
    assert lanes.runs[0].started_s == pytest.approx(0.010, abs=MOMENT_S)


def test_closing_ends_the_wait_for_company() -> None:
    lanes = FakeLanes()

    async def main() -> None:
        batcher = batcher_of(lanes, max_queue_delay_s=9.0)
        call = start(ask(batcher, [0]))
        await asyncio.sleep(0.010)
        await batcher.close()
        assert numbers((await call).rows) == [0]

    run(main)
    assert lanes.runs[0].started_s == pytest.approx(0.010, abs=MOMENT_S)


def test_of_those_who_wait_the_higher_priority_goes_first_and_the_default_is_the_middle() -> None:
    lanes = FakeLanes()

    async def main() -> None:
        batcher = batcher_of(lanes, max_batch_size=1)
        calls = [start(ask(batcher, [99]))]
        await asyncio.sleep(0.001)
        calls += [start(ask(batcher, [10 + priority], priority=priority)) for priority in (5, 4, 3, 0, 2, 1)]
        await asyncio.gather(*calls)

    run(main)
    assert batches(lanes) == [[99], [11], [12], [13], [10], [14], [15]]


def test_the_lowest_priority_is_served_even_in_a_flood_of_the_highest() -> None:
    lanes = FakeLanes(seconds=lambda _: 0.010)

    async def main() -> None:
        batcher = batcher_of(lanes, {1: 0.010}, max_batch_size=1, queue_capacity=10_000)
        flood = [start(ask(batcher, [0], priority=1))]
        humble = start(ask(batcher, [1], priority=5))
        while not humble.done():  # twice what the engine can do
            flood.append(await start_after(0.005, ask(batcher, [0], priority=1)))
            assert now() < 10.0
        await asyncio.gather(*flood)

    run(main)
    # Its place is two seconds behind: passed by who came in these two, which takes the engine four.
    assert lanes.runs[[1] in batches(lanes) and batches(lanes).index([1])].started_s == pytest.approx(4.0, abs=0.1)


@pytest.mark.parametrize("priority", [-1, 6])
def test_a_priority_that_does_not_exist_is_refused(priority: int) -> None:
    with pytest.raises(Unprocessable):
        batcher_of(FakeLanes()).reserve(1, priority=priority)
