"""What is learned about the cost of a batch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.cost import CostModel

SECONDS = {1: 0.010, 2: 0.014, 4: 0.020, 8: 0.036}

costs = st.dictionaries(st.integers(1, 1024), st.floats(1e-4, 10.0), min_size=1, max_size=11)


@pytest.mark.parametrize("seconds", [{}, {1: 0.0}, {1: 0.1, 2: -0.1}])
def test_it_needs_measurements_above_zero(seconds: dict[int, float]) -> None:
    with pytest.raises(ValueError, match="above zero"):
        CostModel(seconds)


def test_measured_sizes_are_returned_as_measured_and_others_in_proportion() -> None:
    costs = CostModel(SECONDS)
    assert {size: costs.of(size) for size in SECONDS} == SECONDS
    assert costs.of(3) == pytest.approx(0.017)
    assert costs.of(6) == pytest.approx(0.028)
    assert costs.of(16) == pytest.approx(0.072)


def test_below_the_smallest_measured_size_a_run_costs_what_that_costs() -> None:
    assert CostModel({4: 0.020}).of(1) == 0.020


def test_the_best_size_is_the_cheapest_per_image() -> None:
    assert CostModel(SECONDS).best_size == 8
    assert CostModel(SECONDS).per_image == pytest.approx(0.0045)


def test_of_nearly_equal_sizes_the_smallest_is_best_since_a_larger_one_waits_for_its_last() -> None:
    assert CostModel({1: 0.200, 2: 0.400, 4: 0.799}).best_size == 1
    assert CostModel({1: 0.200, 2: 0.380, 4: 0.760}).best_size == 2


def test_a_short_run_is_worth_more_images_since_handing_it_over_costs_as_much_as_a_long_one() -> None:
    assert CostModel({1: 0.010, 2: 0.020, 4: 0.040, 8: 0.080}).best_size == 8
    assert CostModel({1: 0.080, 2: 0.160, 4: 0.320, 8: 0.640}).best_size == 2


@given(costs, st.integers(1, 1024), st.floats(1e-5, 20.0))
def test_what_is_observed_again_and_again_becomes_the_estimate(
    known: dict[int, float], size: int, seconds: float
) -> None:
    costs = CostModel(known)
    size = size if size in known else min(known)
    for _ in range(400):
        costs.observe(size, seconds)
    assert costs.of(size) == pytest.approx(seconds, rel=0.01)


def test_a_busier_machine_shows_in_every_size() -> None:
    costs = CostModel(SECONDS)
    for _ in range(200):
        costs.observe(1, 0.020)
    assert costs.of(8) > 1.5 * SECONDS[8]


def test_one_outlier_moves_an_estimate_by_less_than_double() -> None:
    costs = CostModel(SECONDS)
    costs.observe(1, 3600.0)
    assert all(costs.of(size) < 2 * seconds for size, seconds in SECONDS.items())


def test_the_best_size_follows_what_is_observed() -> None:
    costs = CostModel(SECONDS)
    for _ in range(200):
        costs.observe(1, 0.010)
        costs.observe(8, 0.120)
    assert costs.best_size < 8


def test_doubt_returns_what_has_grown_to_warm_ups_measurement_and_never_below() -> None:
    grown, fallen = CostModel(SECONDS), CostModel(SECONDS)
    for _ in range(50):
        grown.observe(1, 0.100)
        fallen.observe(1, 0.001)
    low = fallen.of(1)
    for _ in range(200):
        grown.doubt()
        fallen.doubt()
    assert grown.of(1) == pytest.approx(SECONDS[1], rel=0.01)
    assert fallen.of(1) == low


@given(costs, st.lists(st.tuples(st.integers(1, 2048), st.floats(0.0, 1e4)), max_size=50))
def test_whatever_is_observed_costs_stay_above_zero(known: dict[int, float], observed: list[tuple[int, float]]) -> None:
    costs = CostModel(known)
    for size, seconds in observed:
        costs.observe(size, seconds)
    assert costs.per_image > 0
    assert costs.best_size in known
    assert all(costs.of(size) > 0 for size in (1, 7, 2048))
