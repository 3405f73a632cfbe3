"""service.rows: the largest of a row, and whether all are numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from service.rows import all_finite, top


@given(
    st.lists(st.floats(0, 1, width=32) | st.sampled_from([0, 0.5]), min_size=1, max_size=60).flatmap(
        lambda row: st.tuples(st.just(row), st.integers(1, len(row)))
    )
)
def test_top_is_the_head_of_the_sorted_row_and_of_equal_ones_the_first(drawn: tuple[list[float], int]) -> None:
    values, k = drawn
    row = np.array(values, np.float32)
    expected = sorted(range(len(values)), key=lambda index: -values[index])[:k]
    assert top(row, k) == expected
    row.flags.writeable = False  # as rows that another process sent
    assert top(row, k) == expected


@pytest.mark.parametrize("order", [1, -1], ids=["ascending", "descending"])
def test_top_of_many_classes_may_be_all_of_them(order: int) -> None:
    row = np.arange(1000, dtype=np.float32)[::order]  # backwards, it is no array that C could read
    assert top(row, 1000) == np.argsort(-row, kind="stable").tolist()
    assert top(row, 2000) == top(row, 1000)


@given(arrays(np.float32, st.tuples(st.integers(0, 9), st.integers(1, 70)), elements=st.floats(width=32)))
def test_what_is_not_a_finite_number_is_found_wherever_it_is(rows: np.ndarray) -> None:
    assert all_finite(rows) == np.isfinite(rows).all()
    assert all_finite(rows[::-1, ::2]) == np.isfinite(rows[::-1, ::2]).all()  # no array that C could read


@pytest.mark.parametrize("number", [3.4028235e38, -3.4028235e38, 1e-45, -0.0])
def test_the_largest_and_the_smallest_numbers_are_finite(number: float) -> None:
    assert all_finite(np.full(1000, number, np.float32))
