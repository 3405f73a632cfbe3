"""Answers kept, so that the same pixels are not computed twice: a `service.backend.Backend` in front of another.

    reserve ──▶ (the caller decodes) ──▶ infer ──▶ digest of the pixels ──┬─ known: the row that was kept
                                                                          ├─ being computed for another: its row
                                                                          └─ neither: the other backend's

Each model, and so each version, has a cache of its own, which goes when the model goes. Everything here but digesting
runs on one event loop and needs no locks.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from service.backend import Answer
from service.errors import DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from service.backend import Backend, Images, Loan, Occupancy, Place
    from service.errors import ServiceError
    from service.statistics import ModelCounts
    from service.workers import Workers

    Row = NDArray[np.float32]  # (classes,)


class CachedBackend:
    """Keeps the answers of `backend`, the most recently used ones.

    Args:
        backend: Computes what is not known.
        entries: How many rows are kept.
        workers: The threads that digest pixels.
        counts: Where hits and misses are counted.
    """

    def __init__(self, backend: Backend, entries: int, workers: Workers, counts: ModelCounts) -> None:
        self.backend = backend
        self.close = backend.close
        self._entries = entries
        self._workers = workers
        self._counts = counts
        self._rows: OrderedDict[bytes, Row] = OrderedDict()  # the least recently used first
        self._coming: dict[bytes, asyncio.Future[Row]] = {}  # cancelled if it does not come after all

    @property
    def depth(self) -> int:
        """See `service.backend.Backend`."""
        return self.backend.depth

    @property
    def unavailable(self) -> ServiceError | None:
        """See `service.backend.Backend`."""
        return self.backend.unavailable

    @property
    def occupancy(self) -> Occupancy | None:
        """See `service.backend.Backend`."""
        return self.backend.occupancy

    def reserve(self, images: int, *, deadline_s: float = math.inf, priority: int = 0) -> _CachedPlace:
        """Hold a place in line, also for what may turn out to be known; see `service.backend.Backend.reserve`."""
        return _CachedPlace(self, self.backend.reserve(images, deadline_s=deadline_s, priority=priority), deadline_s)

    async def digests(self, images: Images) -> list[bytes]:
        """Return what the pixels of each image are known by."""
        return list(await asyncio.gather(*(self._workers.run(_digest, image) for image in images)))

    def look_up(
        self, keys: Sequence[bytes], since_s: float
    ) -> tuple[dict[bytes, Row], dict[bytes, asyncio.Future[Row]]]:
        """Return what is known of `keys`, and what is coming; the rest is the caller's to `bring`, or to `give_up`.

        Args:
            keys: Of images, one each.
            since_s: When the caller began to work them out, on `time.monotonic`.
        """
        known: dict[bytes, Row] = {}
        coming: dict[bytes, asyncio.Future[Row]] = {}
        for key in dict.fromkeys(keys):
            if (row := self._rows.get(key)) is not None:
                self._rows.move_to_end(key)
                known[key] = row
            elif (future := self._coming.get(key)) is not None:
                coming[key] = future
            else:
                self._coming[key] = asyncio.get_running_loop().create_future()
        misses = len(set(keys)) - len(known) - len(coming)
        shared = len(keys) - misses - sum(key in known for key in keys)
        seconds = time.monotonic() - since_s
        self._counts.looked_up(hits=len(keys) - misses - shared, shared=shared, misses=misses, seconds=seconds)
        return known, coming

    def bring(self, key: bytes, row: Row) -> None:
        """Keep a row, and give it to whoever waits for it."""
        row = row.copy()  # not a view that keeps its whole batch
        row.flags.writeable = False
        self._coming.pop(key).set_result(row)
        self._rows[key] = row
        if len(self._rows) > self._entries:
            self._rows.popitem(last=False)

    def give_up(self, key: bytes) -> None:
        """Say that a row does not come: who waits for it has to see to it."""
        self._coming.pop(key).cancel()


class _CachedPlace:
    """A place in line, given up unused if all that was to be computed is known; see `service.backend.Place`."""

    __slots__ = ("_cache", "_deadline_s", "_place")

    def __init__(self, cache: CachedBackend, place: Place, deadline_s: float) -> None:
        self._cache = cache
        self._place = place
        self._deadline_s = deadline_s

    def __enter__(self) -> _CachedPlace:
        return self

    def __exit__(self, *error: object) -> None:
        self._place.__exit__(None, None, None)

    def lend(self, index: int) -> Loan:
        """See `service.backend.Place.lend`."""
        return self._place.lend(index)

    async def infer(self, images: Images) -> Answer:
        """Return the rows of `images`, computed or known; see `service.backend.Place.infer`."""
        began_s = time.monotonic()
        keys = await self._cache.digests(images)
        by_key = dict(zip(keys, images, strict=True))
        rows, coming = self._cache.look_up(keys, began_s)
        missing = [key for key in by_key if key not in rows and key not in coming]
        queue_s = inference_s = 0.0
        if missing:
            answer = await self._compute(missing, [by_key[key] for key in missing])
            rows |= zip(missing, answer.rows, strict=True)
            queue_s, inference_s = answer.queue_s, answer.inference_s
        if coming:
            started_s = time.monotonic()
            for key, future in coming.items():
                rows[key] = await self._other(future, by_key[key])
            queue_s += time.monotonic() - started_s
        return Answer(np.stack([rows[key] for key in keys]), queue_s, inference_s)

    async def _compute(self, keys: list[bytes], images: Images) -> Answer:
        left = set(keys)
        try:
            answer = await self._place.infer(images)
            for key, row in zip(keys, answer.rows, strict=True):
                self._cache.bring(key, row)
                left.discard(key)
        finally:
            for key in left:
                self._cache.give_up(key)
        return answer

    async def _other(self, future: asyncio.Future[Row], image: NDArray[np.uint8]) -> Row:
        """Return the row that is computed for somebody else; if that one gives up, see to it in its place."""
        left_s = None if self._deadline_s == math.inf else max(0.0, self._deadline_s - time.monotonic())
        await asyncio.wait({future}, timeout=left_s)
        if not future.done():
            raise DeadlineExceeded("the deadline passed before the answer was there")
        if not future.cancelled():
            return future.result()
        with self._cache.reserve(1, deadline_s=self._deadline_s) as place:
            answer = await place.infer([image])
        row: Row = answer.rows[0]
        return row


def _digest(image: NDArray[np.uint8]) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=32).digest()
