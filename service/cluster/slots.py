"""A frontend's own range of the arena: who gets which slot, counted on the board for everyone to see.

What is counted are callers. A slot may be in use for longer than its caller is there: nothing interrupts a decoder.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from service.cluster.arena import Arena


class Slots:
    """Leases slots. Each has one holder at a time: this free list, a place, a submission, or a decoder left behind.

    Args:
        arena: The shared memory.
        frontend: Whose range it is.
    """

    def __init__(self, arena: Arena, frontend: int) -> None:
        self.pixels = arena.pixels
        self.files = arena.files
        self.lengths = arena.lengths
        self._rows = arena.rows
        self._board = arena.board
        self._frontend = frontend
        self._free = list(reversed(arena.layout.slots_of(frontend)))  # last in, first out: still in a cache
        self._lent: set[int] = set()  # to decoders
        self._left_behind: set[int] = set()  # of these, those whose callers are gone
        self._board.forget_frontend(frontend)  # what a predecessor had

    @property
    def free(self) -> int:
        """How many slots nobody holds."""
        return len(self._free)

    def lease(self, images: int, engine: int) -> list[int]:
        """Take slots for `images` images, at most `free`, that are meant for `engine`."""
        slots = self._free[-images:]
        del self._free[-images:]
        self._board.add_outstanding(self._frontend, engine, images)
        return slots

    def give_back(self, slots: Sequence[int], engine: int) -> None:
        """Take back slots that were meant for `engine`; those that are lent are free once their decoders have ended."""
        self._board.add_outstanding(self._frontend, engine, -len(slots))
        if self._lent:
            behind = self._lent.intersection(slots)
            self._left_behind |= behind
            slots = [slot for slot in slots if slot not in behind]
        self._free.extend(slots)

    def lend(self, slot: int) -> Callable[[], None]:
        """Let a decoder write to a leased slot until what is returned is called."""
        self._lent.add(slot)
        return partial(self._returned, slot)

    def _returned(self, slot: int) -> None:
        self._lent.remove(slot)
        if slot in self._left_behind:
            self._left_behind.remove(slot)
            self._free.append(slot)

    def redirect(self, images: int, old: int, new: int) -> None:
        """Count `images` leased images for engine `new` instead of `old`."""
        self._board.add_outstanding(self._frontend, old, -images)
        self._board.add_outstanding(self._frontend, new, images)

    def results(self, slots: Sequence[int]) -> NDArray[np.float32]:
        """Return a copy of the rows in `slots`, (n, classes)."""
        if len(slots) == 1:
            return self._rows[slots[0]][np.newaxis].copy()
        return np.stack([self._rows[slot] for slot in slots])
