"""What warm-up measures, on a machine that does other things too: runs that really take as long as they say."""

from __future__ import annotations

import time
from collections import Counter

from service.engine.cpu import _gets_dearer
from service.engine.interface import measured


def test_a_disturbance_does_not_end_the_search_for_the_best_size() -> None:
    runs: Counter[int] = Counter()

    def run(size: int) -> None:
        runs[size] += 1
        time.sleep(0.004 if size == 2 and runs[size] <= 2 else 0.001)

    seconds = measured([1, 2, 4], prepare=lambda _: None, run=run, enough=_gets_dearer)
    assert list(seconds) == [1, 2, 4]
    assert seconds[2] < 0.004


def test_long_runs_are_measured_twice_and_no_more() -> None:
    runs: Counter[int] = Counter()

    def run(size: int) -> None:
        runs[size] += 1
        time.sleep(0.006 * size)

    measured([1, 2], prepare=lambda _: None, run=run)
    assert runs == {1: 2, 2: 2}


def test_a_size_whose_images_are_clearly_dearer_is_the_last() -> None:
    def run(size: int) -> None:
        time.sleep(0.001 if size == 1 else 0.01)

    seconds = measured([1, 2, 4], prepare=lambda _: None, run=run, enough=_gets_dearer)
    assert list(seconds) == [1, 2]
