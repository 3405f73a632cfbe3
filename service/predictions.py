"""Probabilities → the k most probable classes, as objects and, on the hot path, straight as JSON."""

from __future__ import annotations

import ctypes
import json
from typing import TYPE_CHECKING

import numpy as np

from service.native import load

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from service.contract import Contract

# It takes a microsecond, with the interpreter lock. NumPy gives that up four times on the way to the largest of 1000
# values, and then waits for threads that decode: docs/performance.md.
_LIBRARY = load(ctypes.PyDLL, largest=(ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p))


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


def top(row: NDArray[np.float32], k: int) -> list[int]:
    """Return the indices of the `k` largest values of `row`, largest first; of equal ones the lower index first."""
    values, indices = np.ascontiguousarray(row, np.float32), (ctypes.c_int64 * k)()
    found = _LIBRARY.largest(values.__array_interface__["data"][0], len(values), k, indices)
    return indices[:found]
