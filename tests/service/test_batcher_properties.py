"""What holds for every caller in every scenario: random arrivals, hang-ups, deadlines, failures and shutdowns."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from service.batcher import Batcher
from service.cost import CostModel
from service.errors import DeadlineExceeded, EngineFailed, QueueFull, ServiceError, Unavailable
from service.line import DEFAULT_LEVEL, LEVELS, STEP_S
from tests.service.fake_lanes import FakeLanes, FakeThreads, Fault, Run, numbers, pictures
from tests.service.virtual_time import MOMENT_S, now, run

MS = 1e-3


@pytest.fixture(autouse=True, scope="module")
def _silence() -> Iterator[None]:
    """Thousands of failures are provoked here: their log would drown the one that matters."""
    logging.getLogger("service.batcher").disabled = True
    yield
    logging.getLogger("service.batcher").disabled = False


@dataclass(frozen=True)
class Caller:
    """One caller's plan; times in milliseconds, the last two since its arrival."""

    arrives: int
    images: int = 1
    decodes: int = 0
    priority: int = 0
    deadline: int | None = None
    hangs_up: int | None = None


@dataclass(frozen=True)
class Scenario:
    lanes: int = 1
    pipelined: bool = False
    can_widen: bool = False
    max_batch_size: int = 4
    capacity: int = 40
    delay: int = 0
    base: int = 10
    per_image: int = 2
    callers: tuple[Caller, ...] = ()
    faults: dict[int, Fault] = field(default_factory=dict)
    closes: int | None = None
    drain: bool = True
    threads: int = 0  # that both decode and run; 0 for lanes and decoders with cores of their own

    def seconds(self, images: int) -> float:
        return (self.base + self.per_image * images) * MS


@dataclass
class Record:
    """What became of one caller."""

    plan: Caller
    pictures: list[int]
    arrived_s: float = 0.0
    reserved: bool = False
    joined_s: float | None = None
    outcomes: list[list[int] | BaseException] = field(default_factory=list)
    decided_s: float = float("inf")

    @property
    def outcome(self) -> list[int] | BaseException:
        assert len(self.outcomes) == 1, f"{len(self.outcomes)} outcomes"
        return self.outcomes[0]


callers = st.builds(
    Caller,
    arrives=st.integers(0, 80) | st.sampled_from([0, 80, 1000, 3000]),
    images=st.just(1) | st.integers(1, 12),
    decodes=st.just(0) | st.integers(0, 40),
    priority=st.just(0) | st.integers(0, LEVELS),
    deadline=st.none() | st.integers(1, 200),
    hangs_up=st.none() | st.none() | st.integers(0, 100),
)
scenarios = st.builds(
    Scenario,
    lanes=st.integers(1, 3),
    pipelined=st.booleans(),
    can_widen=st.booleans(),
    max_batch_size=st.integers(1, 8),
    capacity=st.integers(12, 60),
    delay=st.just(0) | st.integers(1, 50),
    base=st.integers(0, 40),
    per_image=st.integers(1, 10),
    callers=(st.lists(callers, min_size=1, max_size=6) | st.lists(callers, min_size=10, max_size=30)).map(tuple),
    faults=st.dictionaries(st.integers(0, 12), st.sampled_from(Fault), max_size=4),
    closes=st.none() | st.integers(0, 120),
    drain=st.booleans(),
    threads=st.just(0) | st.integers(1, 3),
)


class World:
    """A batcher, its callers, and what is known of them at every moment."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.records: list[Record] = []
        self.closed_s: float | None = None
        lanes = scenario.lanes
        self.threads = FakeThreads(scenario.threads) if scenario.threads else None
        self.lanes = FakeLanes(
            lanes,
            pipelined=scenario.pipelined,
            can_widen=scenario.can_widen and lanes > 1,
            seconds=scenario.seconds,
            faults=scenario.faults,
            threads=self.threads,
        )
        sizes = {1, scenario.max_batch_size}
        self.costs = CostModel({size: scenario.seconds(size) for size in sizes})
        self.batcher = Batcher(
            self.lanes,
            self.costs,
            max_batch_size=scenario.max_batch_size,
            queue_capacity=scenario.capacity,
            max_queue_delay_s=scenario.delay * MS,
            threads=self.threads,
            clock=now,
        )

    async def play(self) -> None:
        loop = asyncio.get_running_loop()
        loop.when_idle.append(self.check_moment)  # type: ignore[attr-defined]
        closing = loop.create_task(self._close_early())
        first = 0
        calls: list[asyncio.Task[None]] = []
        for plan in self.scenario.callers:
            record = Record(plan, list(range(first, first + plan.images)))
            first += plan.images
            self.records.append(record)
            calls.append(loop.create_task(self._call(record)))
            if plan.hangs_up is not None:
                timer = loop.call_later((plan.arrives + plan.hangs_up) * MS, calls[-1].cancel)
                calls[-1].add_done_callback(lambda _, timer=timer: timer.cancel())
        await asyncio.gather(*calls, return_exceptions=True)
        await closing
        assert self.batcher.depth == 0
        await self.batcher.close()
        assert self.lanes.busy == 0, "close() returned while the engine was at work"

    async def _close_early(self) -> None:
        if self.scenario.closes is not None:
            await asyncio.sleep(self.scenario.closes * MS)
            self.closed_s = now()
            await self.batcher.close(drain=self.scenario.drain)
            assert self.batcher.depth == 0
            assert self.lanes.busy == 0, "close() returned while the engine was at work"

    async def _call(self, record: Record) -> None:
        plan = record.plan
        try:
            await asyncio.sleep(plan.arrives * MS)
            record.arrived_s = now()
            record.outcomes.append(await self._answer(record))
        except (ServiceError, asyncio.CancelledError) as error:
            record.outcomes.append(error)
        finally:
            record.decided_s = now()

    async def _answer(self, record: Record) -> list[int]:
        plan = record.plan
        deadline_s = float("inf") if plan.deadline is None else now() + plan.deadline * MS
        with self.batcher.reserve(plan.images, deadline_s=deadline_s, priority=plan.priority) as place:
            record.reserved = True
            try:
                await (self.threads.work if self.threads else asyncio.sleep)(plan.decodes * MS)
            finally:
                record.reserved = False
            record.joined_s = now()
            return numbers((await place.infer(pictures(record.pictures))).rows)

    def waiting(self, record: Record) -> int:
        """Return how many images of a caller wait for the engine now."""
        if record.joined_s is None or record.outcomes:
            return 0
        return len(set(record.pictures) - self.lanes.taken)

    def check_moment(self) -> None:
        """Check what must hold whenever nothing more can happen before time passes."""
        scenario, batcher = self.scenario, self.batcher
        waiting = {index: self.waiting(record) for index, record in enumerate(self.records)}
        total = sum(waiting.values())
        held = sum(record.plan.images for record in self.records if record.reserved)
        assert batcher.depth == held + total, "places lost, or not given back"
        assert batcher.depth <= scenario.capacity
        if total and self.lanes.busy < scenario.lanes:
            full = total >= scenario.max_batch_size
            overlaps = scenario.pipelined and self.lanes.busy and not full
            oldest_s = min(self.records[index].joined_s or 0.0 for index, images in waiting.items() if images)
            in_company = not full and self.closed_s is None and now() < oldest_s + scenario.delay * MS + MOMENT_S
            worth_queueing = total >= min(scenario.max_batch_size, self.costs.best_size)
            no_core = self.threads is not None and not self.threads.idle and not worth_queueing
            assert overlaps or in_company or no_core, "the engine idles while work waits"


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scenarios)
def test_every_caller_gets_exactly_one_outcome_its_own_rows_and_a_fair_turn(scenario: Scenario) -> None:
    world = World(scenario)
    run(world.play)
    runs_of = _runs_by_picture(world.lanes.runs)
    for record in world.records:
        event(type(record.outcome).__name__)
        _check_outcome(world, record, [runs_of[number] for number in record.pictures if number in runs_of])
    for one in world.lanes.runs:
        assert 1 <= len(one.pictures) <= scenario.max_batch_size
        assert not one.wide or len(one.pictures) == 1
        _check_that_nobody_in_it_was_dead(world, one)
    _check_order(world, runs_of)


def _runs_by_picture(runs: list[Run]) -> dict[int, Run]:
    numbers_run = [number for one in runs for number in one.pictures]
    assert len(numbers_run) == len(set(numbers_run)), "an image was computed twice"
    return {number: one for one in runs for number in one.pictures}


def _check_outcome(world: World, record: Record, runs: list[Run]) -> None:
    plan, outcome = record.plan, record.outcome
    failed = any(one.spoilt & set(record.pictures) and one.finished_s <= record.decided_s for one in runs)
    if record.joined_s is not None and plan.deadline is not None:
        latest_s = max(record.arrived_s + plan.deadline * MS, record.joined_s)
        assert record.decided_s <= latest_s + MOMENT_S, "the deadline passed and nobody said so"
    match outcome:
        case list():
            assert outcome == record.pictures
            assert not failed
            if world.closed_s is not None and not world.scenario.drain:
                assert all(one.started_s <= world.closed_s + MOMENT_S for one in runs), "who waits is told at once"
        case asyncio.CancelledError():
            assert plan.hangs_up is not None
        case QueueFull():
            assert record.joined_s is None
            assert (outcome.retry_after_s or 0) > 0
        case DeadlineExceeded():
            assert plan.deadline is not None
        case EngineFailed():
            assert failed
        case Unavailable():
            assert world.closed_s is not None
            # Draining means: whoever was in before is answered.
            assert record.arrived_s >= world.closed_s - MOMENT_S or not world.scenario.drain
        case _:
            raise AssertionError(f"an outcome nobody expects: {outcome!r}")


def _check_that_nobody_in_it_was_dead(world: World, one: Run) -> None:
    for record in world.records:
        if record.decided_s < one.started_s - MOMENT_S:
            assert not set(record.pictures) & set(one.pictures), "dead work reached the engine"


def _check_order(world: World, runs_of: dict[int, Run]) -> None:
    """Check that a caller is passed only by callers of higher priority who came soon after it."""
    position = {number: at for at, number in enumerate(runs_of)}
    joined = [r for r in world.records if r.joined_s is not None and r.pictures[0] in runs_of]
    for record in joined:
        places = [position[number] for number in record.pictures if number in position]
        assert places == sorted(places), "images out of order"
    for earlier in joined:
        for later in joined:
            assert earlier.joined_s is not None
            assert later.joined_s is not None
            ahead_s = later.joined_s - earlier.joined_s
            if ahead_s > MOMENT_S and position[later.pictures[0]] < position[earlier.pictures[0]]:
                steps = _level(earlier) - _level(later)
                assert steps > 0, "passed by a caller of no higher priority"
                assert ahead_s <= steps * STEP_S + MOMENT_S, "passed by a caller who came too late for that"


def _level(record: Record) -> int:
    return record.plan.priority or DEFAULT_LEVEL
