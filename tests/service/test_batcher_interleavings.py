"""The batcher driven step by step: callers come, leave and runs end in whatever order Hypothesis thinks of."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from numpy.typing import NDArray

from service.batcher import Batcher, Place
from service.cost import CostModel
from service.errors import DeadlineExceeded, EngineFailed, QueueFull, ServiceError, Unavailable
from tests.service.fake_lanes import number_of, numbers, pictures, rows_of
from tests.service.virtual_time import VirtualLoop

CAPACITY, MAX_BATCH_SIZE = 12, 4
ANY = st.integers(0, 10**6)  # which one, of however many there are


@pytest.fixture(autouse=True, scope="module")
def _silence() -> Iterator[None]:
    logging.getLogger("service.batcher").disabled = True
    yield
    logging.getLogger("service.batcher").disabled = False


class ManualLanes:
    """An engine whose runs end when the test says so."""

    def __init__(self, count: int, pipelined: bool) -> None:
        self.count = count
        self.pipelined = pipelined
        self.can_widen = False
        self.runs: dict[asyncio.Future[NDArray[np.float32]], list[int]] = {}
        self.seen: list[int] = []

    async def run(self, images: Sequence[NDArray[np.uint8]], *, wide: bool) -> NDArray[np.float32]:
        assert not wide
        assert len(self.runs) < self.count, "more runs at once than lanes"
        assert 1 <= len(images) <= MAX_BATCH_SIZE
        known = [number_of(image) for image in images]
        assert not set(known) & set(self.seen), "an image was computed twice"
        self.seen += known
        future = asyncio.get_running_loop().create_future()
        self.runs[future] = known
        try:
            return await future
        finally:
            del self.runs[future]

    async def examine(self) -> None: ...


@dataclass(eq=False)
class Caller:
    place: Place
    pictures: list[int]
    has_deadline: bool
    task: asyncio.Task[list[int]] | None = None
    hung_up: bool = False
    failed: bool = False  # a run with one of its images has


class BatcherMachine(RuleBasedStateMachine):
    """Callers reserve, decode, wait, hang up; runs end well or badly; time passes; the batcher closes."""

    @initialize(count=st.integers(1, 3), pipelined=st.booleans())
    def begin(self, count: int, pipelined: bool) -> None:
        self.loop = VirtualLoop()
        self.complaints: list[object] = []
        self.loop.set_exception_handler(lambda _, context: self.complaints.append(context))
        self.lanes = ManualLanes(count, pipelined)
        self.batcher = Batcher(
            self.lanes,
            CostModel({1: 0.010, 4: 0.020}),
            max_batch_size=MAX_BATCH_SIZE,
            queue_capacity=CAPACITY,
            clock=self.loop.time,
        )
        self.decoding: list[Caller] = []
        self.asking: list[Caller] = []
        self.pictures = 0
        self.closing: asyncio.Task[None] | None = None

    def turns(self, seconds: float = 0.0) -> None:
        """Let everything happen that is due, after `seconds`."""

        async def wait() -> None:
            await asyncio.sleep(seconds)
            for _ in range(6):
                await asyncio.sleep(0)

        self.loop.run_until_complete(wait())
        for caller in [caller for caller in self.asking if caller.task and caller.task.done()]:
            self.asking.remove(caller)
            self.check_outcome(caller)

    def check_outcome(self, caller: Caller) -> None:
        assert caller.task is not None
        if caller.task.cancelled():
            assert caller.hung_up
        elif error := caller.task.exception():
            expected = {EngineFailed: caller.failed, DeadlineExceeded: caller.has_deadline, Unavailable: self.closing}
            assert expected.get(type(error)), repr(error)
        else:
            assert caller.task.result() == caller.pictures
            assert not caller.failed

    @rule(images=st.integers(1, 9), priority=st.integers(0, 5), deadline=st.none() | st.floats(0.0, 0.2))
    def reserve(self, images: int, priority: int, deadline: float | None) -> None:
        at = float("inf") if deadline is None else self.loop.time() + deadline
        try:
            place = self.batcher.reserve(images, deadline_s=at, priority=priority)
        except ServiceError as error:
            self.check_refusal(error, images, deadline is not None)
            return
        assert self.closing is None
        known = list(range(self.pictures, self.pictures + images))
        self.pictures += images
        self.decoding.append(Caller(place.__enter__(), known, deadline is not None))

    def check_refusal(self, error: ServiceError, images: int, has_deadline: bool) -> None:
        reasons = {
            QueueFull: self.batcher.depth + images > CAPACITY,
            DeadlineExceeded: has_deadline,
            Unavailable: self.closing is not None,
        }
        assert reasons[type(error)]

    @precondition(lambda self: self.decoding)
    @rule(which=ANY, together=st.booleans())
    def ask(self, which: int, together: bool) -> None:
        """One whose images are decoded stands in line, or all at once."""

        async def answer(caller: Caller) -> list[int]:
            with caller.place:
                return numbers((await caller.place.infer(pictures(caller.pictures))).rows)

        chosen = self.decoding[:] if together else [self.decoding[which % len(self.decoding)]]
        for caller in chosen:
            self.decoding.remove(caller)
            caller.task = self.loop.create_task(answer(caller))
            self.asking.append(caller)
        self.turns()

    @precondition(lambda self: self.decoding)
    @rule(which=ANY)
    def give_up_decoding(self, which: int) -> None:
        self.decoding.pop(which % len(self.decoding)).place.__exit__(None, None, None)
        self.turns()

    @precondition(lambda self: self.asking)
    @rule(which=ANY)
    def hang_up(self, which: int) -> None:
        caller = self.asking[which % len(self.asking)]
        assert caller.task is not None
        caller.hung_up = True
        caller.task.cancel()
        self.turns()

    @precondition(lambda self: self.lanes.runs)
    @rule(which=ANY, well=st.sampled_from([True, True, False]))
    def end_run(self, which: int, well: bool) -> None:
        future, known = list(self.lanes.runs.items())[which % len(self.lanes.runs)]
        before = set(self.lanes.seen)
        if well:
            future.set_result(rows_of(known))
        else:
            failing = [caller for caller in self.asking if set(caller.pictures) & set(known)]
            for caller in failing:
                caller.failed = True
            future.set_exception(RuntimeError("the device is on fire"))
        self.turns()
        if not well:
            later = set(self.lanes.seen) - before
            assert not any(later & set(caller.pictures) for caller in failing), "dead work reached the engine"

    @rule(seconds=st.floats(0.001, 0.1))
    def pass_time(self, seconds: float) -> None:
        self.turns(seconds)

    @precondition(lambda self: self.closing is None and self.pictures > 6)
    @rule(drain=st.booleans())
    def close(self, drain: bool) -> None:
        self.closing = self.loop.create_task(self.batcher.close(drain=drain))
        self.turns()

    @invariant()
    def places_are_counted(self) -> None:
        held = sum(len(caller.pictures) for caller in self.decoding)
        waiting = sum(len(set(caller.pictures) - set(self.lanes.seen)) for caller in self.asking)
        assert self.batcher.depth == held + waiting <= CAPACITY
        if waiting and len(self.lanes.runs) < self.lanes.count:
            overlaps = self.lanes.pipelined and self.lanes.runs and waiting < MAX_BATCH_SIZE
            assert overlaps, "the engine idles while work waits"
        if self.closing is not None and self.closing.done():
            assert not held
            assert not waiting
            assert not self.lanes.runs

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        while self.decoding:
            self.give_up_decoding(0)
        while self.lanes.runs:
            self.end_run(0, True)
        assert not self.asking, "somebody waits for ever"
        self.loop.run_until_complete(self.batcher.close())
        self.turns()
        assert not asyncio.all_tasks(self.loop)
        assert not self.loop.timers()
        assert not self.complaints
        self.loop.close()


TestBatcherMachine = BatcherMachine.TestCase
TestBatcherMachine.settings = settings(
    max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
