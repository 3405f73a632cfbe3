from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.rates import percentile, rate


@given(batch=st.integers(1, 32), batches=st.integers(2, 20), every_s=st.floats(0.01, 2.0))
def test_a_rate_is_exact_for_answers_that_come_in_bursts(batch: int, batches: int, every_s: float) -> None:
    times = [number * every_s for number in range(batches) for _ in range(batch)]
    assert rate(times) == pytest.approx(batch / every_s)
    # Counting over the same stretch is off by a batch, which few batches make much of.
    assert len(times) / (times[-1] - times[0]) == pytest.approx(batch / every_s * batches / (batches - 1))


def test_a_rate_of_evenly_spaced_answers_is_their_frequency() -> None:
    assert rate([5 + i * 0.25 for i in range(9)]) == pytest.approx(4.0)


@pytest.mark.parametrize("times", [[], [1.0], [1.0, 1.0]])
def test_too_few_answers_have_no_rate(times: list[float]) -> None:
    assert rate(times) == 0.0


def test_percentiles_are_values_that_occurred() -> None:
    assert percentile([4, 1, 3, 2], 50) == 2
    assert percentile([4, 1, 3, 2], 99) == 4
    assert percentile(list(range(1, 101)), 99) == 99
    assert math.isnan(percentile([], 50))
