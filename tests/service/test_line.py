"""The waiting line by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import Unprocessable
from service.line import DEFAULT_LEVEL, LEVELS, STEP_S, Job, Line, level_of
from tests.service.fake_lanes import pictures


def job(arrived_s: float = 0.0, level: int = DEFAULT_LEVEL, images: int = 1) -> Job:
    future: asyncio.Future[None] = asyncio.Future(loop=_LOOP)
    return Job(pictures(range(images)), future, arrived_s=arrived_s, deadline_s=float("inf"), level=level)


_LOOP = asyncio.SelectorEventLoop()
_LOOP.close()  # the line never waits: its jobs' futures only need to belong somewhere


def line_of(jobs: Sequence[Job]) -> Line:
    line = Line()
    for one in sorted(jobs, key=lambda one: one.arrived_s):
        line.join(one)
    return line


def drained(line: Line) -> list[Job]:
    order = []
    while (one := line.next()) is not None:
        line.take(one, one.size)
        order.append(one)
    assert line.images == 0
    return order


def test_zero_means_the_default_which_is_the_middle() -> None:
    assert level_of(0) == DEFAULT_LEVEL == (1 + LEVELS) / 2
    assert [level_of(priority) for priority in range(1, LEVELS + 1)] == list(range(1, LEVELS + 1))


@pytest.mark.parametrize("priority", [-1, LEVELS + 1])
def test_a_priority_that_does_not_exist_is_refused(priority: int) -> None:
    with pytest.raises(Unprocessable, match=str(priority)):
        level_of(priority)


def test_an_empty_line_has_nobody_next() -> None:
    line = Line()
    assert line.next() is None
    assert line.images == 0
    assert line.oldest_s() == float("inf")


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(1, LEVELS)), max_size=30))
def test_the_order_is_by_arrival_with_a_head_start_for_each_level(arrivals: list[tuple[int, int]]) -> None:
    jobs = [job(milliseconds / 1000, level) for milliseconds, level in arrivals]
    order = drained(line_of(jobs))
    assert set(order) == set(jobs)
    for ahead, behind in pairwise(order):
        assert ahead.arrived_s + ahead.level * STEP_S <= behind.arrived_s + behind.level * STEP_S
    for level in range(1, LEVELS + 1):
        times = [one.arrived_s for one in order if one.level == level]
        assert times == sorted(times)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=8), st.integers(1, 7))
def test_a_job_is_taken_in_parts_from_its_front_and_leaves_with_its_last(sizes: list[int], limit: int) -> None:
    jobs = [job(float(at), images=size) for at, size in enumerate(sizes)]
    line = line_of(jobs)
    for one in jobs:
        taken = 0
        while taken < one.size:
            assert line.next() is one
            start, stop = line.take(one, limit)
            assert (start, stop) == (taken, min(one.size, taken + limit))
            taken = stop
    assert line.next() is None
    assert line.images == 0


@given(st.lists(st.integers(1, LEVELS), min_size=1, max_size=20), st.data())
def test_anybody_may_leave_at_any_time_and_twice(levels: list[int], data: st.DataObject) -> None:
    jobs = [job(float(at), level, images=3) for at, level in enumerate(levels)]
    line = line_of(jobs)
    line.take(head := line.next() or jobs[0], 2)
    leaving = data.draw(st.sets(st.sampled_from(jobs)))
    for one in leaving:
        assert line.leave(one) == (1 if one is head else 3)
        assert line.leave(one) == 0
    staying = [one for one in jobs if one not in leaving]
    assert line.images == sum(one.size - one.taken for one in staying)
    assert line.oldest_s() == min((one.arrived_s for one in staying), default=float("inf"))
    assert set(drained(line)) == set(staying)


def test_clearing_returns_everybody_who_waited() -> None:
    jobs = [job(float(at), level) for at, level in enumerate([3, 1, 5])]
    line = line_of(jobs)
    assert set(line.clear()) == set(jobs)
    assert line.images == 0
    assert line.next() is None
