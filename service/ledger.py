"""Numbers that several processes count and any of them adds up: rows of cells, a row for each process's place.

    row 0: float64 cells …, names … │ row 1 │ …

A cell has one writer, its row's process, so nothing is ever locked; who reads adds the rows up. A process that takes a
dead one's place goes on in its row, so that its death neither loses a count nor counts anything twice. Rows can be
added while others read and write.
"""

from __future__ import annotations

import contextlib
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
        path: File shared with other processes, see `share`; by default one row of this process's own.
    """

    def __init__(self, cells: int, names: int, path: Path | None = None) -> None:
        self._cells = cells
        self._stride = _WORD * cells + _NAME * names
        self._path = path
        self._memory = memoryview(bytearray(self._stride)) if path is None else _mapped(path)

    @classmethod
    def share(cls, path: Path, rows: int, cells: int, names: int) -> Ledger:
        """Make the file `path` for `rows` processes, zeroed.

        Raises:
            StartError: there is no room for it.
        """
        _allocate(path, rows * (_WORD * cells + _NAME * names))
        return cls(cells, names, path)

    @property
    def rows(self) -> int:
        """How many rows there are now."""
        if self._path is not None:
            with contextlib.suppress(FileNotFoundError):  # the service ends
                if self._path.stat().st_size > len(self._memory):
                    self._memory = _mapped(self._path)  # what was given out of the old one is the same memory
        return len(self._memory) // self._stride

    def add_row(self) -> int:
        """Add a row, for all processes, and return its number.

        Raises:
            StartError: there is no room for it.
        """
        row = self.rows
        assert self._path is not None  # noqa: S101 - nobody shares another
        _allocate(self._path, (row + 1) * self._stride)
        self._memory = _mapped(self._path)
        return row

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


def _allocate(path: Path, size: int) -> None:
    try:
        with path.open("ab") as file:
            # Claims every page now: one that could not be had later would be a SIGBUS in whoever touches it.
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        raise StartError(f"no room for {size} bytes in {path.parent}: {error.strerror}") from error


def _mapped(path: Path) -> memoryview:
    with path.open("r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), 0))
