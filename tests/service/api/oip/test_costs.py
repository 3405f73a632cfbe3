"""Reading an inference request costs about its own bytes, whatever it holds, and lets others have their turn."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from service.api.oip.request import parse
from tests.service.api.oip.bodies import CROP, bodies
from tests.service.costs import costs


@pytest.mark.slow  # twenty megabytes of each kind, five seconds
def test_reading_20_megabytes_costs_less_than_40_mebibytes_and_400_milliseconds(tmp_path: Path) -> None:
    """Of CPU time, on a thread. (Made into Python's objects, what is hostile here takes up to 400 MiB and seconds.)"""
    for cost in costs("tests.service.api.oip.bodies", bodies(), tmp_path, allowed_ms=400):
        assert (cost.outcome == "accepted") == cost.name.startswith("honest"), cost
        assert cost.outcome in ("accepted", "BadRequest", "TooLarge"), cost
        assert cost.mebibytes < 40, cost
        assert cost.milliseconds < 400, cost


def test_while_large_tensors_are_read_on_a_thread_the_event_loop_goes_on() -> None:
    body = dict(bodies())["honest-numbers"]

    async def main() -> float:
        reading = asyncio.create_task(asyncio.to_thread(parse, body, len(body), CROP, 64))
        longest_s, last_s = 0.0, time.perf_counter()
        while not reading.done():
            await asyncio.sleep(0.001)
            now_s = time.perf_counter()
            longest_s, last_s = max(longest_s, now_s - last_s), now_s
        await reading
        return longest_s

    assert any(asyncio.run(main()) < 0.15 for _ in range(3))  # all at once it would be half a second
