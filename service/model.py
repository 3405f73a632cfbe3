"""One model being served: bytes → pixels → line → probabilities, for one image or for several."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, NamedTuple

from service.cache import CachedBackend
from service.errors import ServiceError
from service.image import Decoder, Limits
from service.predictions import Predictions
from service.visitors import Visitors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from service.backend import Backend, Images, Place
    from service.contract import Contract
    from service.golden import GoldenResult
    from service.settings import Settings
    from service.statistics import ModelCounts
    from service.workers import Workers

    Pixels = NDArray[np.uint8]
    Decode = Callable[[bytes, Pixels | None], Pixels]


class Timing(NamedTuple):
    """Where a request's time went, in seconds."""

    decode_s: float
    queue_s: float
    inference_s: float


def decoder_of(contract: Contract, settings: Settings) -> Decoder:
    """Return the CPU's decoder for a network."""
    return Decoder(contract.preprocessing, Limits(max_pixels=settings.max_image_pixels))


class Model:
    """Everything a request needs: a decoder with its threads, a backend, and the classes' names.

    Args:
        contract: What the artefact promises.
        version: Version of the artefact in its repository.
        provider: The execution provider in use.
        backend: Answers decoded images; closed with the model.
        settings: Limits.
        counts: Where what it does is counted.
        workers: The threads that decode, which other models may use too.
        golden: What the golden images were answered.
        decode: What makes of a file what the backend takes, where that is not the CPU's decoder.
        release: Called once the model is closed.

    Attributes:
        name: By which requests ask for it.
        version: Of the artefact in its repository.
        counts: Where what it is asked is counted.
    """

    def __init__(
        self,
        contract: Contract,
        version: int,
        provider: str,
        backend: Backend,
        settings: Settings,
        counts: ModelCounts,
        workers: Workers,
        *,
        golden: GoldenResult,
        decode: Decode | None = None,
        release: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = contract.name
        self.version = version
        self.contract = contract
        self.golden = golden
        self.provider = provider
        self.backend = (
            CachedBackend(backend, settings.cache_entries, workers, counts) if settings.cache_entries else backend
        )
        self.predictions = Predictions(contract, version)
        self.counts = counts
        self._decode = decode or decoder_of(contract, settings).decode
        self._workers = workers
        self._release = release
        self._visitors = Visitors()

    async def classify(
        self, body: bytes, *, deadline_s: float = math.inf, priority: int = 0
    ) -> tuple[NDArray[np.float32], Timing]:
        """Return the probabilities (classes,) of one encoded image, and where the time went.

        Raises:
            ServiceError: the image cannot be decoded, or the batcher could not answer.
        """
        with self._visitors, self.backend.reserve(1, deadline_s=deadline_s, priority=priority) as place:
            started_s = time.monotonic()
            try:
                image = await self._decoded(body, place, 0)
            except asyncio.CancelledError:
                self._left(1, deadline_s)
                raise
            except ServiceError as error:
                self.counts.refused(error)
                raise
            decode_s = time.monotonic() - started_s
            answer = await place.infer([image])
        self.counts.predicted(1, decode_s, answer.queue_s)
        return answer.rows[0], Timing(decode_s, answer.queue_s, answer.inference_s)

    async def classify_many(
        self, bodies: Sequence[bytes], *, deadline_s: float = math.inf, priority: int = 0
    ) -> tuple[list[NDArray[np.float32] | ServiceError], Timing]:
        """Return for each encoded image its probabilities (classes,) or what was wrong with it.

        Raises:
            ServiceError: the request as a whole could not be answered.
        """
        with self._visitors, self.backend.reserve(len(bodies), deadline_s=deadline_s, priority=priority) as place:
            started_s = time.monotonic()
            decoding = (self._decoded_or_error(body, place, index) for index, body in enumerate(bodies))
            try:
                decoded = await asyncio.gather(*decoding)
            except asyncio.CancelledError:
                self._left(len(bodies), deadline_s)
                raise
            decode_s = time.monotonic() - started_s
            images = [image for image in decoded if not isinstance(image, ServiceError)]
            if not images:
                return [image for image in decoded if isinstance(image, ServiceError)], Timing(decode_s, 0, 0)
            answer = await place.infer(images)
        self.counts.predicted(len(images), decode_s, answer.queue_s)
        rows = iter(answer.rows)
        results = [image if isinstance(image, ServiceError) else next(rows) for image in decoded]
        return results, Timing(decode_s, answer.queue_s, answer.inference_s)

    async def infer(
        self, images: Images, *, deadline_s: float = math.inf, priority: int = 0
    ) -> tuple[NDArray[np.float32], Timing]:
        """Return the probabilities (n, classes) of images that are pixels already, each (crop, crop, 3).

        Raises:
            ServiceError: the backend could not answer.
        """
        with self._visitors, self.backend.reserve(len(images), deadline_s=deadline_s, priority=priority) as place:
            answer = await place.infer(images)
        self.counts.predicted(len(images), 0.0, answer.queue_s)
        return answer.rows, Timing(0.0, answer.queue_s, answer.inference_s)

    async def close(self, *, drain: bool = True) -> None:
        """Answer whoever has come, or, without `drain`, tell them 503."""
        if drain:  # some stand in line a second time: what the card could not decode, what another has not computed
            await self._visitors.gone()
        await self.backend.close(drain=drain)
        self._release()

    async def _decoded(self, body: bytes, place: Place, index: int) -> Pixels:
        out, give_back = place.lend(index)
        return await self._workers.run_with(give_back, self._decode, body, out)

    async def _decoded_or_error(self, body: bytes, place: Place, index: int) -> Pixels | ServiceError:
        try:
            return await self._decoded(body, place, index)
        except ServiceError as error:
            self.counts.refused(error)
            return error

    def _left(self, images: int, deadline_s: float) -> None:
        self.counts.dropped("expired" if time.monotonic() >= deadline_s else "cancelled", images)
