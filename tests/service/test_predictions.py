"""service.predictions: the most probable classes, in order, named."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.contract import Label
from service.predictions import Predictions, top
from tests.service.artefacts import contract_of

LABELS = (Label(wnid="n01", label='a "quoted" crane'), Label(label="naïve"), Label(wnid="n03", label="three"))


def test_json_names_the_classes_with_the_most_probable_first() -> None:
    predictions = Predictions(contract_of("net", LABELS, 8), 7)
    answer = json.loads(predictions.to_json(np.array([0.25, 0.7, 0.05], np.float32), 2))
    assert answer == [
        {"index": 1, "wnid": None, "label": "naïve", "probability": 0.7},
        {"index": 0, "wnid": "n01", "label": 'a "quoted" crane', "probability": 0.25},
    ]
    assert json.loads(predictions.model_json) == {
        "name": "net",
        "version": "7",
        "precision": "fp32",
        "weights": "made by hand",
    }


def test_tiny_and_whole_probabilities_are_numbers_in_json() -> None:
    predictions = Predictions(contract_of("net", LABELS, 8), 1)
    answer = json.loads(predictions.to_json(np.array([1, 0, 1e-30], np.float32), 3))
    assert [item["probability"] for item in answer] == [1, 1e-30, 0]


@given(
    st.lists(st.floats(0, 1, width=32) | st.sampled_from([0, 0.5]), min_size=1, max_size=60).flatmap(
        lambda row: st.tuples(st.just(row), st.integers(1, len(row)))
    )
)
def test_top_is_the_head_of_the_sorted_row_and_of_equal_ones_the_first(drawn: tuple[list[float], int]) -> None:
    values, k = drawn
    row = np.array(values, np.float32)
    assert top(row, k) == sorted(range(len(values)), key=lambda index: -values[index])[:k]


@pytest.mark.parametrize("order", [1, -1], ids=["ascending", "descending"])
def test_top_of_many_classes_may_be_all_of_them(order: int) -> None:
    row = np.arange(1000, dtype=np.float32)[::order]  # backwards, it is no array that C could read
    assert top(row, 1000) == np.argsort(-row, kind="stable").tolist()
    assert top(row, 2000) == top(row, 1000)
