"""Numbers that several processes count and any of them adds up: rows of cells, a row for each process's place.

    row 0: float64 cells …, names … │ row 1 │ …

A cell has one writer, its row's process, so nothing is ever locked; who reads adds the rows up. A process that takes a
dead one's place goes on in its row, so that its death neither loses a count nor counts anything twice.
"""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING

import numpy as np

from service.errors import StartError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_WORD = 8  # bytes of a cell
_NAME = 288  # bytes of a name, NUL-padded UTF-8: a folder's (255 at most) and a number


class Ledger:
    """Rows of cells, and of names for those cells whose meaning is known only at run time.

    Args:
        cells: Cells of a row.
        names: Names of a row.
        memory: Shared with other processes, see `share`; by default one row of this process's own.
    """

    def __init__(self, cells: int, names: int, memory: memoryview | None = None) -> None:
        stride = _WORD * cells + _NAME * names
        self._memory = memoryview(bytearray(stride)) if memory is None else memory
        self._cells = cells
        self._stride = stride
        self.rows = len(self._memory) // stride

    @classmethod
    def share(cls, path: Path, rows: int, cells: int, names: int) -> Ledger:
        """Make the file `path` for `rows` processes, zeroed.

        Raises:
            StartError: there is no room for it.
        """
        size = rows * (_WORD * cells + _NAME * names)
        try:
            with path.open("wb") as file:
                # Claims every page now: one that could not be had later would be a SIGBUS in whoever touches it.
                os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise StartError(f"no room for {size} bytes in {path.parent}: {error.strerror}") from error
        return cls.join(path, cells, names)

    @classmethod
    def join(cls, path: Path, cells: int, names: int) -> Ledger:
        """Open the file `path`, made by another process."""
        with path.open("r+b") as file:
            return cls(cells, names, memoryview(mmap.mmap(file.fileno(), 0)))

    def cells(self, row: int) -> memoryview[float]:
        """Return the cells of `row`, for the one process that writes them; 8 bytes aligned, so never half written."""
        at = row * self._stride
        return self._memory[at : at + _WORD * self._cells].cast("d")

    def name(self, row: int, column: int) -> str:
        """Return a name; empty where there is none yet."""
        return bytes(self._memory[self._name_at(row, column)]).rstrip(b"\0").decode(errors="ignore")

    def set_name(self, row: int, column: int, name: str) -> None:
        """Write a name, cut to what there is room for."""
        self._memory[self._name_at(row, column)] = name.encode()[:_NAME].ljust(_NAME, b"\0")

    def total(self, cells: slice | list[int]) -> NDArray[np.float64]:
        """Return the sum over all rows of each of some cells, (cells,)."""
        total: NDArray[np.float64] = self.table()[:, cells].sum(axis=0)
        return total

    def table(self) -> NDArray[np.float64]:
        """Return every cell, (rows, cells)."""
        return np.ndarray((self.rows, self._cells), np.float64, self._memory, strides=(self._stride, _WORD))

    def _name_at(self, row: int, column: int) -> slice:
        at = row * self._stride + _WORD * self._cells + _NAME * column
        return slice(at, at + _NAME)
