"""Files of all callers → batches for the card's decoder → the batcher. A backend in front of a backend.

Work-conserving, as the batcher is: whenever a decoder is free it takes what has waited longest. What it cannot decode
is told to its own caller alone, who then has the CPU try (`service.card.model`).
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, cast

from service.errors import NotDecoded
from service.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from service.backend import Answer, Backend, Images, Loan, Occupancy
    from service.backend import Place as AnyPlace
    from service.card.decoder import CardDecoder
    from service.engine.device import Resident
    from service.errors import ServiceError

logger = logging.getLogger(__name__)


class _Waiting(NamedTuple):
    file: NDArray[np.uint8]
    future: asyncio.Future[Resident]


class DecodingBackend:
    """Decodes files on the card and hands pixels on to the batcher; see `service.backend.Backend`.

    Args:
        inner: Answers pixels; admits and refuses callers.
        decoders: As many batches are decoded at the same time.
        max_batch_size: Files in one of them at most.
    """

    def __init__(self, inner: Backend, decoders: Sequence[CardDecoder], max_batch_size: int) -> None:
        self._inner = inner
        self._idle = list(decoders)
        self._max_batch_size = max_batch_size
        self._workers = Workers(len(decoders), "card")
        self._waiting: deque[_Waiting] = deque()
        self._batches: set[asyncio.Task[None]] = set()
        self._due: asyncio.Handle | None = None

    @property
    def depth(self) -> int:
        """See `service.backend.Backend`."""
        return self._inner.depth

    @property
    def unavailable(self) -> ServiceError | None:
        """See `service.backend.Backend`."""
        return self._inner.unavailable

    @property
    def occupancy(self) -> Occupancy | None:
        """See `service.backend.Backend`."""
        return self._inner.occupancy

    def reserve(self, images: int, *, deadline_s: float = math.inf, priority: int = 0) -> Place:
        """Hold a place in line; see `service.backend.Backend.reserve`."""
        return Place(self, self._inner.reserve(images, deadline_s=deadline_s, priority=priority))

    async def close(self, *, drain: bool = True) -> None:
        """Admit nobody any more; those that are being decoded hold a place, and so are waited for."""
        await self._inner.close(drain=drain)
        self._workers.close()

    async def decode(self, images: Images) -> Images:
        """Return `images` with pixels on the card in the place of files.

        When cancelled it waits for the batch that its files are in: until then they are being read.

        Raises:
            NotDecoded: the card could not decode one of them.
        """
        if all(image.ndim > 1 for image in images):
            return images
        waiting = [image if image.ndim > 1 else self._join(image) for image in images]
        futures = [each for each in waiting if isinstance(each, asyncio.Future)]
        try:
            found = iter(await asyncio.gather(*futures, return_exceptions=True))
        except asyncio.CancelledError:
            await self._leave(images)
            raise
        decoded = [next(found) if isinstance(each, asyncio.Future) else each for each in waiting]
        for each in decoded:
            if isinstance(each, BaseException):
                raise each
        return cast("Images", decoded)

    def _join(self, file: NDArray[np.uint8]) -> asyncio.Future[Resident]:
        future: asyncio.Future[Resident] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(file, future))
        self._schedule()
        return future

    def _schedule(self) -> None:
        # On the loop's next turn, so that callers who arrive in the same turn share a batch.
        if self._due is None and self._waiting and self._idle:
            self._due = asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._due = None
        while self._idle and self._waiting:
            batch: list[_Waiting] = []
            while self._waiting and len(batch) < self._max_batch_size:
                each = self._waiting.popleft()
                if not each.future.done():  # its caller may have hung up
                    batch.append(each)
            if batch:
                task = asyncio.get_running_loop().create_task(self._run(self._idle.pop(), batch))
                self._batches.add(task)
                task.add_done_callback(self._batches.discard)

    async def _run(self, decoder: CardDecoder, batch: list[_Waiting]) -> None:
        try:
            found = await self._workers.run(decoder.decode, [each.file for each in batch])
        except Exception as error:  # whatever it is, the CPU can decode them
            logger.error("%d images could not be decoded on the card: %r", len(batch), error)
            found = [None] * len(batch)
        finally:
            self._idle.append(decoder)
            self._schedule()
        for each, resident in zip(batch, found, strict=True):
            if each.future.done():
                continue
            if resident is None:
                each.future.set_exception(NotDecoded("the card cannot decode it"))
            else:
                each.future.set_result(resident)

    async def _leave(self, images: Images) -> None:
        """Wait until no batch that has begun can read `images` any more."""
        begun = list(self._batches)
        while not all(batch.done() for batch in begun):
            try:
                await asyncio.wait(begun)
            except asyncio.CancelledError:
                continue


class Place:
    """A place in line; see `service.backend.Place`."""

    __slots__ = ("_backend", "_inner")

    def __init__(self, backend: DecodingBackend, inner: AnyPlace) -> None:
        self._backend = backend
        self._inner = inner

    def __enter__(self) -> Place:
        self._inner.__enter__()
        return self

    def __exit__(self, *of_the_block: object) -> None:
        self._inner.__exit__(*of_the_block)  # type: ignore[arg-type]  # what the caller was given

    def lend(self, index: int) -> Loan:
        """Return where image `index` should go; see `service.backend.Place`."""
        return self._inner.lend(index)

    async def infer(self, images: Images) -> Answer:
        """Have files decoded, then stand in line; see `service.backend.Place.infer`.

        Raises:
            NotDecoded: the card could not decode one of them.
        """
        return await self._inner.infer(await self._backend.decode(images))
