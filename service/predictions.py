"""Probabilities → the k most probable classes, as objects and, on the hot path, straight as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from service.rows import top

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from service.contract import Contract


class Predictions:
    """Names the classes of one model's rows.

    All that is constant about a class's JSON is rendered once, here; per request only the probability is.
    """

    def __init__(self, contract: Contract, version: int) -> None:
        self.classes = len(contract.labels)
        self.model = {
            "name": contract.name,
            "version": str(version),
            "precision": contract.precision,
            "weights": contract.weights.name,
        }
        self.model_json = json.dumps(self.model, ensure_ascii=False)
        self._heads = [
            json.dumps({"index": index, "wnid": label.wnid, "label": label.label}, ensure_ascii=False)[:-1]
            for index, label in enumerate(contract.labels)
        ]

    def to_json(self, row: NDArray[np.float32], k: int) -> str:
        """Return the `k` most probable classes of `row` (classes,) as a JSON array, most probable first."""
        indices = top(row, k)
        # float32 holds seven significant digits; more would be noise. Python's floats format faster than NumPy's.
        items = [f'{self._heads[index]}, "probability": {row.item(index):.7g}}}' for index in indices]
        return f"[{', '.join(items)}]"
