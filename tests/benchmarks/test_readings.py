from __future__ import annotations

import json
import math

import pytest

from benchmarks.readings import Cell, Reading, cpu_ratio, in_turns, median, ratio


def reading(images_per_s: float, failed: int = 0) -> Reading:
    return Reading(images_per_s, cpu_ms=1.0, failed=failed)


def test_every_round_measures_every_cell_and_begins_with_another() -> None:
    order: list[str] = []

    def cell(name: str) -> Cell:
        def read() -> Reading:
            order.append(name)
            return reading(1)

        return Cell(name, read)

    readings = in_turns([cell("a"), cell("b"), cell("c")], rounds=3)
    assert "".join(order) == "abcbcacab"
    assert {name: len(rounds) for name, rounds in readings.items()} == {"a": 3, "b": 3, "c": 3}


def test_a_slow_cell_is_measured_in_the_first_rounds_only() -> None:
    readings = in_turns([Cell("slow", lambda: reading(1), rounds=1), Cell("fast", lambda: reading(1))], rounds=3)
    assert [len(readings[name]) for name in ("slow", "fast")] == [1, 3]


def test_a_ratio_compares_round_with_round() -> None:
    # A neighbour halves everything in the second round: the ratio does not see it.
    assert ratio([reading(90), reading(45), reading(80)], [reading(100), reading(50), reading(100)]) == 0.9


def test_a_median_adds_up_failures() -> None:
    middle = median([reading(1, failed=2), reading(5), reading(3, failed=1)])
    assert (middle.images_per_s, middle.failed) == (3, 3)


def test_a_reading_without_a_latency_is_valid_json() -> None:
    text = json.dumps(reading(2).to_json(), allow_nan=False)
    assert json.loads(text)["p50_ms"] is None
    assert math.isnan(reading(2).p50_ms)


def test_no_rounds_have_no_median() -> None:
    with pytest.raises(ValueError, match="median"):
        median([])


def test_no_round_but_the_first_begins_too_late() -> None:
    readings = in_turns([Cell("cell", lambda: reading(1))], rounds=3, until_s=0.0)
    assert len(readings["cell"]) == 1


def test_cpu_time_is_compared_round_with_round() -> None:
    dear, cheap = Reading(1, cpu_ms=3.0), Reading(1, cpu_ms=2.0)
    assert cpu_ratio([dear, dear], [cheap, cheap]) == 1.5
