"""Callers of a batcher with a fake engine, for tests in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

from service.backend import Answer
from service.batcher import Batcher
from service.cost import CostModel
from tests.service.fake_lanes import FakeLanes, pictures
from tests.service.virtual_time import now

# What FakeLanes takes by default.
COSTS = {1: 0.011, 2: 0.012, 4: 0.014, 8: 0.018}


def batcher_of(lanes: FakeLanes, costs: dict[int, float] | None = None, **options: Any) -> Batcher:
    limits = {"max_batch_size": 8, "queue_capacity": 100} | options
    return Batcher(lanes, CostModel(costs or COSTS), clock=now, **limits)


async def ask(batcher: Batcher, known: Iterable[int], **options: Any) -> Answer:
    images = pictures(known)
    with batcher.reserve(len(images), **options) as place:
        return await place.infer(images)


def start(work: Coroutine[Any, Any, Answer]) -> asyncio.Task[Answer]:
    return asyncio.get_running_loop().create_task(work)


async def start_after(seconds: float, work: Coroutine[Any, Any, Answer]) -> asyncio.Task[Answer]:
    await asyncio.sleep(seconds)
    return start(work)


def batches(lanes: FakeLanes) -> list[list[int]]:
    return [one.pictures for one in lanes.runs]
