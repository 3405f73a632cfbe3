"""service.predictions: the most probable classes, in order, named."""

from __future__ import annotations

import json

import numpy as np

from service.contract import Label
from service.predictions import Predictions
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
