"""A model whose images are decoded on the card, and by the CPU where the card cannot."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from service.card.sorting import Sorter
from service.errors import NotDecoded
from service.model import Model, Timing, decoder_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from service.backend import Backend
    from service.contract import Contract
    from service.errors import ServiceError
    from service.golden import GoldenResult
    from service.settings import Settings
    from service.statistics import ModelCounts
    from service.workers import Workers


class CardModel(Model):
    """A model in front of a backend that takes files as well as pixels; see `service.model.Model` for the arguments."""

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
        release: Callable[[], None] = lambda: None,
    ) -> None:
        sorter = Sorter(decoder_of(contract, settings))
        every = (contract, version, provider, backend, settings, counts, workers)
        super().__init__(*every, golden=golden, decode=sorter.sort, release=release)
        self._by_cpu = Model(*every, golden=golden, decode=sorter.decode)
        self._by_cpu.backend = self.backend  # one cache of answers, if any

    async def classify(
        self, body: bytes, *, deadline_s: float = math.inf, priority: int = 0
    ) -> tuple[NDArray[np.float32], Timing]:
        """Return the probabilities of one image; see `Model.classify`."""
        with self._visitors:
            try:
                return await super().classify(body, deadline_s=deadline_s, priority=priority)
            except NotDecoded:
                return await self._by_cpu.classify(body, deadline_s=deadline_s, priority=priority)

    async def classify_many(
        self, bodies: Sequence[bytes], *, deadline_s: float = math.inf, priority: int = 0
    ) -> tuple[list[NDArray[np.float32] | ServiceError], Timing]:
        """Return for each image its probabilities or what was wrong with it; see `Model.classify_many`.

        If the card cannot decode one of them the CPU decodes all, and says which.
        """
        with self._visitors:
            try:
                return await super().classify_many(bodies, deadline_s=deadline_s, priority=priority)
            except NotDecoded:
                return await self._by_cpu.classify_many(bodies, deadline_s=deadline_s, priority=priority)
