"""What is asked of rows of probabilities on the event loop: a microsecond's work each, with Python's lock kept.

NumPy gives the lock up once or twice in each step, and then waits for threads that decode; after a lone image's run its
own code is out of the caches besides, and three steps took a tenth of a millisecond (docs/performance.md).
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import numpy as np

from service.native import address, load

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ADDRESS, _COUNT = ctypes.c_void_p, ctypes.c_int64
_LIBRARY = load(ctypes.PyDLL, largest=(_ADDRESS, _COUNT, _COUNT, _ADDRESS), all_finite=(_ADDRESS, _COUNT))


def top(row: NDArray[np.float32], k: int) -> list[int]:
    """Return the indices of the `k` largest values of `row`, largest first; of equal ones the lower index first."""
    row, indices = np.ascontiguousarray(row, np.float32), (ctypes.c_int64 * k)()
    found = _LIBRARY.largest(address(row), row.size, k, indices)
    return indices[:found]


def all_finite(rows: NDArray[np.float32]) -> bool:
    """Tell whether all of `rows`, of any shape, are finite numbers."""
    rows = np.ascontiguousarray(rows, np.float32)
    return bool(_LIBRARY.all_finite(address(rows), rows.size))
