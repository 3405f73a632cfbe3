"""From a frontend's reserve to an engine's batch and back: real sockets and shared memory, a slow engine."""

from __future__ import annotations

import asyncio
import math
import random
import time
from pathlib import Path

import numpy as np
import pytest

from service.cluster.client import Client
from service.cluster.messages import Sender
from service.errors import DeadlineExceeded, EngineFailed, QueueFull, ServiceError, Unavailable, Unprocessable
from tests.service.cluster.office import ask, office, run, until
from tests.service.fake_lanes import numbers


def test_each_caller_gets_its_own_row(tmp_path: Path) -> None:
    async def main() -> None:
        async with office(tmp_path) as here:
            asked = [ask(here.clients[number % 2], number) for number in range(60)]
            answers = await asyncio.gather(*asked)
            assert [numbers(answer.rows) for answer in answers] == [[number] for number in range(60)]
            assert here.all_free()
            assert here.lanes.torn == 0

    run(main())


def test_batches_form_across_frontends(tmp_path: Path) -> None:
    async def main() -> None:
        async with office(tmp_path) as here:
            here.lanes.gate.clear()
            first = asyncio.create_task(ask(here.clients[0], 0))
            await until(lambda: here.lanes.batches)
            rest = [asyncio.create_task(ask(here.clients[number % 2], number)) for number in range(1, 9)]
            await until(lambda: here.engines[0].batcher.depth == 8)
            here.lanes.gate.set()
            await asyncio.gather(first, *rest)
            assert [sorted(batch) for batch in here.lanes.batches] == [[0], list(range(1, 9))]

    run(main())


def test_a_request_larger_than_a_batch_comes_back_in_order(tmp_path: Path) -> None:
    async def main() -> None:
        async with office(tmp_path) as here:
            answer = await ask(here.clients[0], *range(30))
            assert numbers(answer.rows) == list(range(30))
            assert len(here.lanes.batches) >= 4
            assert answer.inference_s > 4 * here.lanes.seconds
            assert here.all_free()

    run(main())


def test_images_that_failed_to_decode_and_images_from_elsewhere_keep_the_order(tmp_path: Path) -> None:
    async def main() -> None:
        async with office(tmp_path) as here:
            with here.clients[0].reserve(4) as place:
                loans = [place.lend(index) for index in range(4)]
                buffers = [loan.pixels for loan in loans if loan.pixels is not None]
                buffers[3][0, 0], buffers[1][0, 0] = (7, 0, 0), (8, 0, 0)
                for loan in loans:
                    loan.give_back()
                elsewhere = np.array([[[9, 0, 0]]], np.uint8)
                answer = await place.infer([buffers[3], elsewhere, buffers[1]])
            assert numbers(answer.rows) == [7, 9, 8]
            assert here.all_free()

    run(main())


def test_what_a_place_was_not_made_for_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with office(tmp_path) as here:
            with here.clients[0].reserve(1) as place, pytest.raises(ValueError, match="2 images, but a place for 1"):
                await place.infer([np.zeros((1, 1, 3), np.uint8)] * 2)
            with pytest.raises(Unprocessable):
                here.clients[0].reserve(1, priority=6)
            assert here.all_free()

    run(main())


def test_the_queue_is_bounded_over_all_frontends_and_one_alone_may_fill_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with office(tmp_path, capacity=20, slots_each=40) as here:
            here.lanes.gate.clear()
            running = asyncio.create_task(ask(here.clients[0], 100))
            await until(lambda: here.lanes.batches)
            waiting = [asyncio.create_task(ask(here.clients[0], number)) for number in range(20)]
            await until(lambda: here.engines[0].batcher.depth == 20)
            for client in here.clients:
                assert client.depth == 20
                with pytest.raises(QueueFull) as refused:
                    client.reserve(1)
                assert refused.value.retry_after_s is not None
                assert refused.value.retry_after_s >= 1
            here.lanes.gate.set()
            await asyncio.gather(running, *waiting)
            assert numbers((await ask(here.clients[1], 5)).rows) == [5]
            assert here.all_free()

    run(main())


def test_an_image_being_decoded_holds_a_place_that_every_frontend_sees(tmp_path: Path) -> None:
    async def main() -> None:
        async with office(tmp_path, capacity=4) as here:
            with here.clients[0].reserve(3):
                assert here.clients[1].depth == 3
                with pytest.raises(QueueFull):
                    here.clients[1].reserve(2)
                with here.clients[1].reserve(1):
                    pass
            assert here.all_free()

    run(main())


def test_who_leaves_while_its_image_is_decoded_gives_its_place_back_at_once_and_the_slot_when_that_has_ended(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with office(tmp_path, capacity=2, slots_each=3) as here:
            client = here.clients[0]
            with client.reserve(2) as place:
                still, ended = place.lend(0), place.lend(1)
                ended.give_back()
            assert client.depth == 0
            assert client.slots.free == 2
            with client.reserve(2) as other:  # every place there is
                taken = [other.lend(index) for index in range(2)]
                assert all(loan.pixels is not still.pixels for loan in taken)
                for loan in taken:
                    loan.give_back()
            still.give_back()
            assert here.all_free()

    run(main())


def test_a_deadline_holds_even_if_the_engine_hangs_and_the_slot_is_kept_from_others_until_it_answers(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with office(tmp_path, slots_each=1) as here:
            here.lanes.gate.clear()
            started_s = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                await ask(here.clients[0], 1, deadline_s=started_s + 0.1)
            assert time.monotonic() - started_s < 1
            assert here.clients[0].slots.free == 0  # a run reads it still
            here.lanes.gate.set()
            await until(here.all_free)
            assert here.lanes.torn == 0

    run(main())


def test_a_deadline_that_cannot_be_met_is_refused_before_anything_is_decoded(tmp_path: Path) -> None:
    async def main() -> None:
        async with office(tmp_path) as here:
            here.arena.board.set_costs(0, 1.0, 1.0)
            with here.clients[0].reserve(5), pytest.raises(DeadlineExceeded):
                here.clients[1].reserve(1, deadline_s=time.monotonic() + 3)
            # An engine with nothing to do is asked, whatever it said in busier times.
            answer = await ask(here.clients[1], 1, deadline_s=time.monotonic() + 3)
            assert numbers(answer.rows) == [1]

    run(main())


def test_a_caller_that_hangs_up_leaves_the_line_and_frees_its_slot(tmp_path: Path) -> None:
    async def main() -> None:
        async with office(tmp_path) as here:
            here.lanes.gate.clear()
            running = asyncio.create_task(ask(here.clients[0], 1))
            await until(lambda: here.lanes.batches)
            waiting = [asyncio.create_task(ask(here.clients[0], number)) for number in range(2, 6)]
            await until(lambda: here.engines[0].batcher.depth == 4)
            for task in (running, *waiting[:2]):
                task.cancel()
            await until(lambda: here.engines[0].batcher.depth == 2)  # at once, though the engine is busy
            await until(lambda: here.clients[0].slots.free == 80 - 3)  # the one that is read is not free yet
            here.lanes.gate.set()
            await asyncio.gather(*waiting[2:])
            assert here.lanes.batches == [[1], [4, 5]]
            await until(here.all_free)

    run(main())


def test_hundreds_of_callers_with_a_third_gone_mix_nothing_up_and_leave_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        chance = random.Random(5)
        async with office(tmp_path, frontends=3, capacity=3000, slots_each=3000, count=2, seconds=0.001) as here:

            async def caller(number: int) -> list[int] | None:
                await asyncio.sleep(chance.random() * 0.2)
                images = [number * 8 + image for image in range(chance.choice([1, 1, 1, 2, 5]))]
                asking = asyncio.create_task(ask(here.clients[number % 3], *images))
                if number % 3 == 1:
                    await asyncio.sleep(chance.random() * 0.02)
                    asking.cancel()
                try:
                    assert numbers((await asking).rows) == images
                except asyncio.CancelledError:
                    return None
                return images

            answered = await asyncio.gather(*map(caller, range(900)))
            assert sum(answer is not None for answer in answered) >= 600
            await until(here.all_free)
            assert here.lanes.torn == 0
            assert here.engines[0].batcher.depth == 0

    run(main())


def test_the_engines_own_words_reach_the_caller(tmp_path: Path) -> None:
    async def main() -> None:
        async with office(tmp_path, costs={1: 100.0}) as here:
            # The board knows nothing yet of what a run costs: it is the engine that refuses.
            with pytest.raises(DeadlineExceeded, match="cannot be met"):
                await ask(here.clients[0], 1, deadline_s=time.monotonic() + 1)
            here.lanes.broken = True
            with pytest.raises(EngineFailed, match="inference failed"):
                await ask(here.clients[0], 1)
            await until(here.all_free)

    run(main())


def test_when_an_engine_dies_its_callers_are_told_and_every_slot_is_free(tmp_path: Path) -> None:
    async def main() -> None:
        async with office(tmp_path) as here:
            here.lanes.gate.clear()
            client = here.clients[0]
            asked = [asyncio.create_task(ask(client, number)) for number in range(20)]
            await until(lambda: here.engines[0].batcher.depth > 0)
            here.engines[0].channel.close()
            client.disconnect(0)
            outcomes = await asyncio.gather(*asked, return_exceptions=True)
            assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
            assert client.slots.free == 80
            assert isinstance(client.unavailable, Unavailable)
            with pytest.raises(Unavailable):
                client.reserve(1)
            here.lanes.gate.set()

    run(main())


def test_images_decoded_for_an_engine_that_died_go_to_another(tmp_path: Path) -> None:
    async def main() -> None:
        async with office(tmp_path, engines=2) as here:
            client = here.clients[0]
            with client.reserve(1) as place:
                image, give_back = place.lend(0)
                assert image is not None
                image[0, 0] = (42, 0, 0)
                give_back()
                client.disconnect(0)
                assert numbers((await place.infer([image])).rows) == [42]
            assert here.engines[1].lanes.batches == [[42]]
            assert here.all_free()

    run(main())


def test_the_engine_with_the_least_to_do_gets_the_next_image(tmp_path: Path) -> None:
    async def main() -> None:
        async with office(tmp_path, engines=2, seconds=0.01) as here:
            await asyncio.gather(*(ask(here.clients[number % 2], number) for number in range(60)))
            shares = [sum(map(len, engine.lanes.batches)) for engine in here.engines]
            assert sum(shares) == 60
            assert min(shares) >= 25
            here.engines[0].lanes.gate.clear()  # the first one hangs: nearly all goes to the other
            stuck = asyncio.create_task(ask(here.clients[0], 100, 101, 102, 103))
            await until(lambda: here.arena.board.outstanding(0) == 4)
            for number in range(10):
                await ask(here.clients[1], number)
            assert here.arena.board.outstanding(0) == 4
            here.engines[0].lanes.gate.set()
            await stuck

    run(main())


def test_what_a_dead_frontend_left_is_dropped_and_its_successor_gets_only_its_own(tmp_path: Path) -> None:
    async def main() -> None:
        async with office(tmp_path, slots_each=4) as here:
            desk, old = here.engines[0].desk, here.clients[0]
            here.lanes.gate.clear()
            orphans = [asyncio.create_task(ask(old, 1))]
            await until(lambda: here.lanes.batches)
            orphans += [asyncio.create_task(ask(old, number)) for number in (2, 3, 4)]
            await until(lambda: here.engines[0].batcher.depth == 3)
            new = Client(here.arena, Sender(0, 1), 64)  # on the same slots
            new.connect(0, here.engines[0].address)
            asked = [asyncio.create_task(ask(new, number)) for number in (11, 12, 13, 14)]
            await until(lambda: here.engines[0].batcher.depth == 4)  # the three that waited are gone
            desk.forget(0, 0)  # the supervisor's word comes after the successor's first
            here.lanes.gate.set()
            answers = await asyncio.gather(*asked)
            assert [numbers(answer.rows) for answer in answers] == [[11], [12], [13], [14]]
            assert here.lanes.batches == [[1], [11, 12, 13, 14]]
            assert new.slots.free == 4
            for orphan in orphans:
                orphan.cancel()
            await asyncio.gather(*orphans, return_exceptions=True)
            new.disconnect(0)

    run(main())


def test_closing_answers_those_in_line_and_admits_nobody(tmp_path: Path) -> None:
    async def main() -> None:
        async with office(tmp_path) as here:
            client = here.clients[0]
            asked = [asyncio.create_task(ask(client, number)) for number in range(20)]
            await asyncio.sleep(0)
            closing = asyncio.create_task(client.close())
            await asyncio.sleep(0)
            with pytest.raises(Unavailable):
                client.reserve(1)
            answers = await asyncio.gather(*asked)
            assert [numbers(answer.rows) for answer in answers] == [[number] for number in range(20)]
            await closing

    run(main())


def test_closing_without_draining_tells_those_in_line(tmp_path: Path) -> None:
    async def main() -> None:
        async with office(tmp_path) as here:
            asked = [asyncio.create_task(ask(here.clients[0], number)) for number in range(20)]
            await until(lambda: here.lanes.batches)
            await here.clients[0].close(drain=False)
            outcomes = await asyncio.gather(*asked, return_exceptions=True)
            assert sum(isinstance(outcome, ServiceError) for outcome in outcomes) >= 10

    run(main())


def test_priorities_travel(tmp_path: Path) -> None:
    async def main() -> None:
        async with office(tmp_path) as here:
            here.lanes.gate.clear()
            first = asyncio.create_task(ask(here.clients[0], 0))
            await until(lambda: here.lanes.batches)
            low = [asyncio.create_task(ask(here.clients[0], number, priority=5)) for number in range(1, 9)]
            await until(lambda: here.engines[0].batcher.depth == 8)
            high = asyncio.create_task(ask(here.clients[1], 9, priority=1, deadline_s=math.inf))
            await until(lambda: here.engines[0].batcher.depth == 9)
            here.lanes.gate.set()
            await asyncio.gather(first, high, *low)
            assert here.lanes.batches[1][0] == 9

    run(main())
